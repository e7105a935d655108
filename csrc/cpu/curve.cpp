#include "cpu/curve.h"

#include <algorithm>
#include <atomic>

#include "cpu/optimal.h"
#include "cpu/optimal_layers.h"

namespace wkmeans {
namespace {

constexpr std::size_t kFewPoints = 4096;  // whose layers take milliseconds

// What branch and bound costs a cluster of each number, in intervals of the layers, as measured.
constexpr double kLayeredWorkOfACluster = 8e3;
// What it may spend before the layers take over, in its own intervals: some ten times its usual.
constexpr double kMostWorkOfACluster = 3e5;

}  // namespace

template <class Moments>
std::vector<double> optimal_curve(const Points& points, const Pyramid<Moments>& pyramid,
                                  const Placement& placement, std::size_t k,
                                  const Parallel& parallel) {
  const double n_clusters = 0.5 * static_cast<double>(k) * static_cast<double>(k + 1);
  if (points.size() > std::max(k, kFewPoints) &&
      layered_work(points.size(), k) > kLayeredWorkOfACluster * n_clusters) {
    std::vector<double> costs(k);
    std::atomic<bool> closed{true};
    parallel.run(static_cast<std::int64_t>(k), [&](std::int64_t task) {
      if (!closed.load(std::memory_order_relaxed)) return;
      const std::size_t clusters = k - static_cast<std::size_t>(task);  // the longest first
      const std::optional<Optimum> optimum =
          certified_optimum(points, pyramid, placement, clusters,
                            kMostWorkOfACluster * static_cast<double>(clusters + 16), Parallel(1));
      if (optimum) {
        costs[clusters - 1] = optimum->cost;
      } else {
        closed.store(false, std::memory_order_relaxed);
      }
    });
    if (closed.load()) return costs;
  }
  return optimal_layers(points, pyramid, placement, k, Want::costs, parallel).costs;
}

template std::vector<double> optimal_curve(const Points&, const Pyramid<QuadraticMoments>&,
                                           const Placement&, std::size_t, const Parallel&);
template std::vector<double> optimal_curve(const Points&, const Pyramid<QuarticMoments>&,
                                           const Placement&, std::size_t, const Parallel&);

}  // namespace wkmeans
