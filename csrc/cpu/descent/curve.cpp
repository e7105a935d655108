#include "cpu/descent/curve.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "cpu/base/tuning.h"
#include "cpu/descent/descent.h"
#include "cpu/lagrangian/branch_and_bound.h"
#include "cpu/layered/optimal_layers.h"

namespace wkmeans {
namespace {

// The numbers of clusters from which to descend side by side, each to where the next one starts.
// Solving for m clusters takes work in proportion to m: for equal shares of the work the squares of
// these numbers are evenly spaced.
std::vector<std::size_t> starts_of_descents(std::size_t k) {
  constexpr std::size_t kMostDescents = 4;
  constexpr std::size_t kShortest = 32;  // or finding the start costs more than the descent
  const std::size_t n = std::clamp(k / kShortest, std::size_t{1}, kMostDescents);
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < n; ++i) {
    const double share = 1.0 - static_cast<double>(i) / static_cast<double>(n);
    starts.push_back(static_cast<std::size_t>(static_cast<double>(k) * std::sqrt(share)));
  }
  return starts;
}

}  // namespace

template <class Moments>
std::optional<std::vector<double>> descended_curve(const Points& points,
                                                   const Pyramid<Moments>& pyramid,
                                                   const Placement& placement, std::size_t k,
                                                   const Parallel& parallel) {
  // Intervals for each cluster: some ten times what it takes usually.
  constexpr double kMostWorkOfAStep = 5e4;
  constexpr double kMostWorkOfAStart = 3e5;
  const std::vector<std::size_t> starts = starts_of_descents(k);
  std::vector<double> costs(k);
  std::atomic<bool> closed{true};
  parallel.run(static_cast<std::int64_t>(starts.size()), [&](std::int64_t task) {
    const auto i = static_cast<std::size_t>(task);
    const std::size_t end = i + 1 < starts.size() ? starts[i + 1] : 0;
    std::optional<Descent<Moments>> descent;
    for (std::size_t m = starts[i]; m > end && closed.load(std::memory_order_relaxed); --m) {
      const auto size = static_cast<double>(m + 16);
      if (!descent || !descent->step(kMostWorkOfAStep * size)) {
        Allowance allowance(kMostWorkOfAStart * size);
        const Optimum start =
            branch_and_bound(points, pyramid, placement, m, allowance, Parallel(1));
        if (!is_certified(start)) {
          closed.store(false, std::memory_order_relaxed);
          return;
        }
        descent.emplace(points, pyramid, placement, start);
      }
      costs[m - 1] = descent->cost();
    }
  });
  if (!closed.load()) return std::nullopt;
  return costs;
}

template <class Moments>
std::vector<double> optimal_curve(const Points& points, const Pyramid<Moments>& pyramid,
                                  const Placement& placement, std::size_t k,
                                  const Parallel& parallel) {
  const double n_clusters = 0.5 * static_cast<double>(k) * static_cast<double>(k + 1);
  if (points.size() > std::max(k, tuning::kFewPointsOfACurve) &&
      layered_work(points.size(), k) > tuning::kLayeredWorkOfACluster * n_clusters) {
    if (const auto costs = descended_curve(points, pyramid, placement, k, parallel)) return *costs;
  }
  return optimal_layers(points, pyramid, placement, k, Want::costs, parallel).costs;
}

template std::optional<std::vector<double>> descended_curve(const Points&,
                                                            const Pyramid<QuadraticMoments>&,
                                                            const Placement&, std::size_t,
                                                            const Parallel&);
template std::optional<std::vector<double>> descended_curve(const Points&,
                                                            const Pyramid<QuarticMoments>&,
                                                            const Placement&, std::size_t,
                                                            const Parallel&);
template std::vector<double> optimal_curve(const Points&, const Pyramid<QuadraticMoments>&,
                                           const Placement&, std::size_t, const Parallel&);
template std::vector<double> optimal_curve(const Points&, const Pyramid<QuarticMoments>&,
                                           const Placement&, std::size_t, const Parallel&);

}  // namespace wkmeans
