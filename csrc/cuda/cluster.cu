#include "cuda/cluster.h"

#include "cuda/batch/batch.h"
#include "cuda/device.h"
#include "cuda/device/device_backend.cuh"

namespace wkmeans::cuda {
namespace {

bool fits(const Batch& batch, const ClusterOptions& options) {
  return options.solver.solver == Solver::optimal &&
         fits_batch(batch.n_items, static_cast<std::int64_t>(options.solver.k));
}

BatchOptions batch_options(const ClusterOptions& options) {
  BatchOptions wanted;
  wanted.k = static_cast<std::int64_t>(options.solver.k);
  const Placement format = placement_of(options.solver.format, 1.0);
  if (format.grid()) {
    wanted.placement = options.solver.optimal_in_format ? BatchPlacement::optimal_on_grid
                                                        : BatchPlacement::rounded_to_grid;
    wanted.grid = *format.grid();
  }
  const bool scaled = options.solver.format == CentroidFormat::int8;
  wanted.scale = scaled ? BatchScale::widest_weight : BatchScale::one;
  wanted.zero = options.zero == Zero::pinned ? BatchZero::pinned : BatchZero::free;
  return wanted;
}

void cluster_by_teams(DeviceBackend& backend, const Batch& batch, const ClusterOptions& options,
                      const BatchOutputs& outputs) {
  const BatchOptions wanted = batch_options(options);
  auto errors = backend.array<BadItems>(1);
  ProblemOutputs out = outputs.problems;
  out.errors = errors.data();
  auto workspace = backend.array<std::byte>(batch_workspace(batch, wanted));
  solve_batch(batch, wanted, out, workspace.data(), backend.stream(), [&] { backend.pause(); });
  const auto n_problems = static_cast<std::size_t>(batch.n_problems);
  check(cudaMemsetAsync(outputs.n_iters, 0, n_problems * sizeof(std::int64_t), backend.stream()));
  throw_if_bad(backend.download(errors.data(), 1).front());
}

}  // namespace

void cluster_batch(const Queue& queue, const Batch& batch, const ClusterOptions& options,
                   const BatchOutputs& outputs) {
  DeviceBackend backend(queue);
  if (fits(batch, options)) {
    cluster_by_teams(backend, batch, options, outputs);
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
