#include "cpu/cluster/optimal.h"

#include <algorithm>
#include <limits>

#include "cpu/base/tuning.h"
#include "cpu/layered/optimal_layers.h"

namespace wkmeans {

template <class Moments>
Optimum layered_optimum(const Points& points, const Pyramid<Moments>& pyramid,
                        const Placement& placement, std::size_t k, const Parallel& parallel) {
  const LayeredOptimum layers =
      optimal_layers(points, pyramid, placement, k, Want::boundaries, parallel);
  Optimum optimum;
  optimum.boundaries = layers.boundaries;
  optimum.cost = layers.costs.back();
  optimum.lower_bound = optimum.cost * std::max(0.0, 1.0 - rounding_slack(points.size()));
  return optimum;
}

template <class Moments>
Optimum optimal(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
                std::size_t k, const Parallel& parallel, const std::optional<Start>& start) {
  const double layered = layered_work(points.size(), k);
  const double cells = static_cast<double>(k) * static_cast<double>(points.size());
  const bool has_fallback =
      layered <= tuning::kMostLayeredWork && cells <= tuning::kMostLayeredCells;
  const double budget = has_fallback ? tuning::kFreeWork + tuning::kSweepSpeed * layered
                                     : std::numeric_limits<double>::infinity();
  const std::optional<Optimum> found =
      branch_and_bound(points, pyramid, placement, k, budget, parallel, start);
  if (found && (is_certified(*found) || !has_fallback)) return *found;
  Optimum optimum = layered_optimum(points, pyramid, placement, k, parallel);
  if (found) optimum.lower_bound = std::max(optimum.lower_bound, found->lower_bound);
  optimum.lower_bound = std::min(optimum.lower_bound, optimum.cost);
  return optimum;
}

#define WKM_INSTANTIATE(Moments)                                                                  \
  template Optimum optimal(const Points&, const Pyramid<Moments>&, const Placement&, std::size_t, \
                           const Parallel&, const std::optional<Start>&);                         \
  template Optimum layered_optimum(const Points&, const Pyramid<Moments>&, const Placement&,      \
                                   std::size_t, const Parallel&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
