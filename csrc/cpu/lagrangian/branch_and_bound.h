#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "cpu/base/allowance.h"
#include "cpu/base/parallel.h"
#include "cpu/intervals/optimum.h"
#include "cpu/intervals/placement.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

// What a look at coarser points of the same problem has shown, to begin with.
struct Start {
  std::vector<double> centroids;
  double multiplier = 0.0;
  double worth = 0.0;  // at most what one more centroid saves
};

// The optimum with k clusters, 1 <= k < points.size(), by branch and bound on a Lagrangian:
// shortest paths over coarse cells bound every clustering from below (Lemma 10), cells that cannot
// hold a boundary of the optimum are closed, the others refined until only single points are left.
// Where that takes more intervals than are allowed, or bounds do not close, it is the best
// clustering found on the way, which is not certified.
template <class Moments>
Optimum branch_and_bound(const Points& points, const Pyramid<Moments>& pyramid,
                         const Placement& placement, std::size_t k, Allowance& allowance,
                         const Parallel& parallel,
                         const std::optional<Start>& start = std::nullopt);

// Where boundaries of the optimum can still lie, among points that stand for groups of weights.
struct Remaining {
  std::vector<bool> alive;   // node i, before point i
  std::vector<bool> open;    // inside point i
  double upper_bound = 0.0;  // the cost of some clustering
  Start next;                // for a closer look
};

// Closes all that can be closed without looking into the divisible points; nothing where that takes
// too long.
template <class Moments>
std::optional<Remaining> narrowed(const Points& points, const Pyramid<Moments>& pyramid,
                                  const Placement& placement, std::size_t k,
                                  const Parallel& parallel);

}  // namespace wkmeans
