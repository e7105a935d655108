#include "cuda/batch/batch.h"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "cuda/batch/solve.h"
#include "cuda/device/atomic.h"
#include "cuda/device/check.h"
#include "cuda/device/launch.h"

namespace wkmeans::cuda {
namespace {

// What blocks in flight may take beyond shared memory, all of them together.
constexpr std::size_t kMostWorkspace = std::size_t{1} << 29;
constexpr int kMostLanes = 512;

// Of one launch: a thousand times as long as it takes to launch, and well below a second.
constexpr std::int64_t kProblemsOfABlock = 16;

// A team of the threads of one block.
class BlockTeam {
public:
  WKM_DEVICE int size() const { return static_cast<int>(place().n_threads); }

  template <class Work>
  WKM_DEVICE void phase(Work&& work) {
    work(static_cast<int>(place().thread));
    WKM_BARRIER();
  }

  static WKM_DEVICE void lower(std::uint64_t* at, std::uint64_t value) { cuda::lower(at, value); }
};

struct Task {
  Batch batch;
  std::int64_t first, end;  // of its problems
  BatchOptions options;
  ProblemOutputs outputs;
  TeamShape shape;
};

template <class Moments, class Placement>
WKM_KERNEL(kMostLanes)
solve_kernel(const Task task, std::size_t shared_bytes, std::byte* workspace,
             std::size_t workspace_of_block) {
  const Place at = place();
  TeamCarver carver(shared_memory(), shared_bytes, workspace + at.block * workspace_of_block);
  const TeamScratch<Moments, Placement> scratch(task.shape, carver);
  BlockTeam team;
  TeamSolver<BlockTeam, Moments, Placement> solver(team, task.batch, task.options, task.outputs,
                                                   scratch);
  solver.solve_share(task.first + at.block, at.n_blocks, task.end);
}

struct LaunchPlan {
  unsigned n_blocks;
  std::size_t shared_bytes;
  std::size_t workspace_of_block;
};

template <class Moments, class Placement>
LaunchPlan plan(const Task& task) {
  const auto kernel = solve_kernel<Moments, Placement>;
  const std::size_t most_shared = most_shared_bytes();
  TeamCarver carver(nullptr, most_shared, nullptr);
  const TeamScratch<Moments, Placement> unplaced(task.shape, carver);
  const std::size_t shared = carver.shared_used();
  const std::size_t global = carver.global_used();
  allow_shared_bytes(kernel, most_shared);
  const int per_processor = std::max(blocks_at_once(kernel, task.shape.n_lanes, shared), 1);
  std::int64_t n_blocks = std::int64_t{per_processor} * processor_count();
  if (global > 0) {
    const auto affordable = static_cast<std::int64_t>(kMostWorkspace / global);
    n_blocks = std::min(n_blocks, std::max<std::int64_t>(affordable, 1));
  }
  n_blocks = std::min(n_blocks, task.batch.n_problems);
  return {static_cast<unsigned>(n_blocks), shared, global};
}

template <class Moments, class Placement>
void launch_solver(Task task, void* workspace, cudaStream_t stream,
                   const std::function<void()>& pause) {
  const LaunchPlan l = plan<Moments, Placement>(task);
  const std::int64_t at_once = kProblemsOfABlock * l.n_blocks;
  while (task.first < task.batch.n_problems) {
    if (task.first > 0) pause();
    task.end = std::min(task.first + at_once, task.batch.n_problems);
    launch(solve_kernel<Moments, Placement>, l.n_blocks, task.shape.n_lanes, l.shared_bytes, stream,
           task, l.shared_bytes, static_cast<std::byte*>(workspace), l.workspace_of_block);
    task.first = task.end;
  }
}

// visit(moments, placement) with the kinds that the task needs.
template <class Visit>
void dispatch(const Task& task, Visit&& visit) {
  const bool on_grid = task.options.placement == BatchPlacement::optimal_on_grid;
  if (task.shape.quartic) {
    on_grid ? visit(QuarticMoments{}, OnGrid{}) : visit(QuarticMoments{}, Anywhere{});
  } else {
    on_grid ? visit(QuadraticMoments{}, OnGrid{}) : visit(QuadraticMoments{}, Anywhere{});
  }
}

}  // namespace

std::size_t batch_workspace(const Batch& batch, const BatchOptions& options) {
  if (batch.n_problems == 0) return 0;
  const Task task{batch, 0, 0, options, {}, shape_of(batch, options)};
  std::size_t n_bytes = 0;
  dispatch(task, [&](auto moments, auto placement) {
    const LaunchPlan l = plan<decltype(moments), decltype(placement)>(task);
    n_bytes = static_cast<std::size_t>(l.n_blocks) * l.workspace_of_block;
  });
  return n_bytes;
}

void solve_batch(const Batch& batch, const BatchOptions& options, const ProblemOutputs& outputs,
                 void* workspace, cudaStream_t stream, const std::function<void()>& pause) {
  if (!fits_batch(batch.n_items, options.k)) {
    throw std::invalid_argument("solve_batch: expected a batch that fits_batch, got " +
                                std::to_string(batch.n_items) +
                                " items and k = " + std::to_string(options.k));
  }
  check(cudaMemsetAsync(outputs.errors, 0xff, sizeof(BadItems), stream));
  if (batch.n_problems == 0) return;
  const Task task{batch, 0, 0, options, outputs, shape_of(batch, options)};
  dispatch(task, [&](auto moments, auto placement) {
    launch_solver<decltype(moments), decltype(placement)>(task, workspace, stream, pause);
  });
}

}  // namespace wkmeans::cuda
