#include "batch/host_team.h"

namespace wkmeans::testing {

cuda::BatchOptions batch_options(std::size_t k, CentroidFormat format, bool optimal_in_format,
                                 Zero zero) {
  cuda::BatchOptions options;
  options.k = static_cast<std::int64_t>(k);
  const Placement placement = placement_of(format, 1.0);
  if (placement.grid()) {
    options.grid = *placement.grid();
    options.placement = optimal_in_format ? cuda::BatchPlacement::optimal_on_grid
                                          : cuda::BatchPlacement::rounded_to_grid;
  }
  if (format == CentroidFormat::int8) options.scale = cuda::BatchScale::widest_weight;
  if (zero == Zero::pinned) options.zero = cuda::BatchZero::pinned;
  return options;
}

void solve_on_host(const cuda::Batch& batch, const cuda::BatchOptions& options,
                   const cuda::ProblemOutputs& outputs, const HostRun& run) {
  const bool quartic = batch.quartic_importance.values != nullptr;
  const bool on_grid = options.placement == cuda::BatchPlacement::optimal_on_grid;
  const auto solve = [&](auto moments, auto placement) {
    run_on_host<decltype(moments), decltype(placement)>(batch, options, outputs, run);
  };
  if (quartic) {
    on_grid ? solve(QuarticMoments{}, OnGrid{}) : solve(QuarticMoments{}, Anywhere{});
  } else {
    on_grid ? solve(QuadraticMoments{}, OnGrid{}) : solve(QuadraticMoments{}, Anywhere{});
  }
}

}  // namespace wkmeans::testing
