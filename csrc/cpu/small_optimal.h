#pragma once

#include <cstddef>
#include <optional>

#include "cpu/optimal.h"
#include "cpu/placement.h"
#include "cpu/points.h"

namespace wkmeans {

// Where this search was measured to be the faster one: beyond, a Lagrangian looks at fewer
// intervals.
inline bool is_small(std::size_t n_points, std::size_t k) {
  constexpr std::size_t kMostPoints = 1 << 10;
  constexpr std::size_t kMostClusters = 8;  // a lane each
  return n_points <= kMostPoints && k <= kMostClusters;
}

// The global optimum with k clusters, 1 <= k < points.size(), of a small problem: shortest paths of
// at most k edges over a few coarse cells bound every clustering from below, cells that cannot hold
// a boundary of the optimum are closed, the others refined until only single points are left.
// Nothing where that takes too many cells.
template <class Moments>
std::optional<Optimum> small_optimum(const Points& points, const Placement& placement,
                                     std::size_t k);

}  // namespace wkmeans
