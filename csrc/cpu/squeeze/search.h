#pragma once

#include <cstddef>
#include <optional>

#include "cpu/cluster/optimal.h"
#include "cpu/read/points.h"
#include "cpu/squeeze/finish.h"

namespace wkmeans {

// Where this search was measured to be the faster one: beyond, a Lagrangian looks at fewer
// intervals.
inline bool is_small(const Points& points, const Placement& placement, std::size_t k) {
  constexpr std::size_t kMostPoints = std::size_t{1} << 14;
  constexpr std::size_t kMostClusters = 16;
  return points.size() <= kMostPoints && k <= kMostClusters && points.groups.empty() &&
         points.pin == kNoPoint && !placement.grid();
}

// The global optimum with k clusters, 1 <= k < points.size(), of a small problem with free
// centroids. Shortest paths over a few coarse cells leave a window for each boundary; windows are
// squeezed by Lloyd's rounds, cut into finer cells and narrowed again until few points are left.
// Nothing where rounding, ties or too even a choice keep them open.
template <class Moments>
std::optional<SmallOptimum<Moments>> small_optimum(const Points& points, std::size_t k);

}  // namespace wkmeans
