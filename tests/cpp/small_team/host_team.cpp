#include "small_team/host_team.h"

namespace wkmeans::testing {

cuda::SmallOptions small_options(std::size_t k, CentroidFormat format, bool optimal_in_format,
                                 Zero zero) {
  cuda::SmallOptions options;
  options.k = static_cast<std::int64_t>(k);
  const Placement placement = placement_of(format, 1.0);
  if (placement.grid()) {
    options.grid = *placement.grid();
    options.placement = optimal_in_format ? cuda::SmallPlacement::optimal_on_grid
                                          : cuda::SmallPlacement::rounded_to_grid;
  }
  if (format == CentroidFormat::int8) options.scale = cuda::SmallScale::widest_weight;
  if (zero == Zero::pinned) options.zero = cuda::SmallZero::pinned;
  return options;
}

void solve_on_host(const cuda::Batch& batch, const cuda::SmallOptions& options,
                   const cuda::SmallOutputs& outputs, const HostRun& run) {
  const bool quartic = batch.quartic_importance.values != nullptr;
  const bool on_grid = options.placement == cuda::SmallPlacement::optimal_on_grid;
  const auto solve = [&](auto moments, auto placement) {
    run_on_host<decltype(moments), decltype(placement)>(batch, options, outputs, run);
  };
  if (quartic) {
    on_grid ? solve(QuarticMoments{}, cuda::OnGrid{}) : solve(QuarticMoments{}, cuda::Anywhere{});
  } else {
    on_grid ? solve(QuadraticMoments{}, cuda::OnGrid{})
            : solve(QuadraticMoments{}, cuda::Anywhere{});
  }
}

}  // namespace wkmeans::testing
