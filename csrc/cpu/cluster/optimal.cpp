#include "cpu/cluster/optimal.h"

#include <algorithm>
#include <utility>

#include "cpu/base/tuning.h"
#include "cpu/layered/optimal_layers.h"

namespace wkmeans {
namespace {

Optimum optimum_of(LayeredOptimum layers, std::size_t n_points) {
  Optimum optimum;
  optimum.boundaries = std::move(layers.boundaries);
  optimum.cost = layers.costs.back();
  optimum.lower_bound = optimum.cost * std::max(0.0, 1.0 - rounding_slack(n_points));
  return optimum;
}

// Intervals of sweeps.
double most_work(std::size_t n_points, bool quartic) {
  const double n = std::max(static_cast<double>(n_points), tuning::kFewestPointsOfMostWork);
  return tuning::kMostWorkOfAPoint * n / (quartic ? tuning::kWorkOfAQuarticInterval : 1.0);
}

// Intervals of the layers that take as long as so many of sweeps.
double layered_share(double n_intervals, bool quartic) {
  return n_intervals / (tuning::kSweepSpeed * (quartic ? tuning::kWorkOfAQuarticLayer : 1.0));
}

template <class Moments>
std::optional<Optimum> layered_within(Allowance& allowance, const Points& points,
                                      const Pyramid<Moments>& pyramid, const Placement& placement,
                                      std::size_t k, const Parallel& parallel) {
  try {
    return optimum_of(
        optimal_layers(points, pyramid, placement, k, Want::boundaries, parallel, allowance),
        points.size());
  } catch (const OutOfWork&) {
    return std::nullopt;
  }
}

}  // namespace

template <class Moments>
Optimum layered_optimum(const Points& points, const Pyramid<Moments>& pyramid,
                        const Placement& placement, std::size_t k, const Parallel& parallel) {
  return optimum_of(optimal_layers(points, pyramid, placement, k, Want::boundaries, parallel),
                    points.size());
}

template <class Moments>
Optimum optimal(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
                std::size_t k, const Parallel& parallel, const std::optional<Start>& start) {
  const double layered = layered_work(points.size(), k);
  const double cells = static_cast<double>(k) * static_cast<double>(points.size());
  const bool has_fallback =
      layered <= tuning::kMostLayeredWork && cells <= tuning::kMostLayeredCells;
  const double most = most_work(points.size(), Moments::kQuartic);
  const double budget =
      has_fallback ? std::min(most, tuning::kFreeWork + tuning::kSweepSpeed * layered) : most;
  Allowance sweeps(budget);
  Optimum found = branch_and_bound(points, pyramid, placement, k, sweeps, parallel, start);
  if (is_certified(found) || !has_fallback) return found;
  Allowance rest(layered_share(most - budget + sweeps.left(), Moments::kQuartic));
  std::optional<Optimum> other = layered_within(rest, points, pyramid, placement, k, parallel);
  if (!other) return found;
  if (other->cost <= found.cost) std::swap(found, *other);
  found.lower_bound = std::min(std::max(found.lower_bound, other->lower_bound), found.cost);
  return found;
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
