#include "cuda/cluster.h"

#include "cuda/batch/batch.h"
#include "cuda/device/device.h"
#include "cuda/device/device_backend.cuh"

namespace wkmeans::cuda {
namespace {

bool is_small(const Batch& batch, const ClusterOptions& options) {
  return options.solver.solver == Solver::optimal &&
         fits_small_batch(batch.n_items, static_cast<std::int64_t>(options.solver.k));
}

SmallOptions small_options(const ClusterOptions& options) {
  SmallOptions small;
  small.k = static_cast<std::int64_t>(options.solver.k);
  const Placement format = placement_of(options.solver.format, 1.0);
  if (format.grid()) {
    small.placement = options.solver.optimal_in_format ? SmallPlacement::optimal_on_grid
                                                       : SmallPlacement::rounded_to_grid;
    small.grid = *format.grid();
  }
  const bool scaled = options.solver.format == CentroidFormat::int8;
  small.scale = scaled ? SmallScale::widest_weight : SmallScale::one;
  small.zero = options.zero == Zero::pinned ? SmallZero::pinned : SmallZero::free;
  return small;
}

void cluster_small(DeviceBackend& backend, const Batch& batch, const ClusterOptions& options,
                   const BatchOutputs& outputs) {
  const SmallOptions small = small_options(options);
  auto errors = backend.array<BadItems>(1);
  SmallOutputs out = outputs.problems;
  out.errors = errors.data();
  auto workspace = backend.array<std::byte>(small_batch_workspace(batch, small));
  solve_small_batch(batch, small, out, workspace.data(), backend.stream());
  const auto n_problems = static_cast<std::size_t>(batch.n_problems);
  check(cudaMemsetAsync(outputs.n_iters, 0, n_problems * sizeof(std::int64_t), backend.stream()));
  throw_if_bad(backend.download(errors.data(), 1).front());
}

}  // namespace

void cluster_batch(const Queue& queue, const Batch& batch, const ClusterOptions& options,
                   const BatchOutputs& outputs) {
  DeviceBackend backend(queue);
  if (is_small(batch, options)) {
    cluster_small(backend, batch, options, outputs);
  } else {
    cluster(backend, batch, options, outputs);
  }
  backend.finish();
}

void cost_curves(const Queue& queue, const Batch& batch, std::size_t k_max, Zero zero,
                 CentroidFormat format, int n_threads, double* costs) {
  DeviceBackend backend(queue);
  cost_curve(backend, batch, k_max, zero, format, n_threads, costs);
  backend.finish();
}

}  // namespace wkmeans::cuda
