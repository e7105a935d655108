#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/lagrangian/sweep.h"

namespace wkmeans {

// A path of exactly k edges over a row of cells, and what the search for it proved.
struct KPath {
  std::vector<std::uint32_t> nodes;  // k + 1 of them
  double multiplier;                 // at which it was found, or is to be looked for
  double lower_bound;                // no path of k edges costs less
};

// The cheapest path of exactly k edges, 1 <= k <= cells.size(). The cost is convex in k, so some
// multiplier on the number of edges finds it (Lemma 6); `guess` > 0 is where to look first. Where
// no other multiplier can raise the lower bound by `tolerance` the search may end: with a path of k
// edges that need not be the cheapest.
template <class Moments>
KPath cheapest_path(const std::vector<Moments>& cells, std::size_t k, double guess,
                    Sweeper<Moments>& sweeper, double tolerance = 0.0);

// Of two paths that are both shortest for one multiplier, with fewer and with more than k edges,
// makes one with exactly k that is shortest too (Aggarwal, Schieber, Tokuyama 1994).
std::vector<std::uint32_t> splice(const std::vector<std::uint32_t>& fewer,
                                  const std::vector<std::uint32_t>& more, std::size_t k);

// What rounding can take from or add to a path's cost plus k multipliers: clusters' costs come from
// merged moments, and each edge may have lost to another by a few roundings of the whole. The
// multipliers alone have no moments: where they come to far more than the cost they are exact.
inline double path_slack(double cost, double multiplier, std::size_t k) {
  constexpr double kOfMoments = 1e-12;
  constexpr double kOfAnEdge = 5e-16;
  const auto n_edges = static_cast<double>(k);
  return kOfMoments * (cost + multiplier) + kOfAnEdge * n_edges * (cost + multiplier * n_edges);
}

}  // namespace wkmeans
