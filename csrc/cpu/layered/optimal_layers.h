#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/base/allowance.h"
#include "cpu/base/parallel.h"
#include "cpu/intervals/placement.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"
#include "math/rounding.h"

namespace wkmeans {

// The plain optimal solver: one dynamic-programming layer per cluster, each by divide and conquer
// over the Monge interval costs, O(k n log n) time. It stays as the oracle of faster ones.
struct LayeredOptimum {
  std::vector<double> costs;  // costs[j]: the optimum with j + 1 clusters
  std::vector<std::size_t>
      boundaries;  // of the optimum with k clusters: cluster j ends before boundaries[j]
};

// Intervals that the layers look at; a sweep looks at several in the time of one.
inline double layered_work(std::size_t n_points, std::size_t k) {
  const auto n = static_cast<double>(n_points);
  return static_cast<double>(k) * n * std::log2(n + 2.0);
}

enum class Want { costs, boundaries };

// Needs 1 <= k <= points.size(). Memory: 16 n bytes, and 4 k n more where boundaries are wanted.
// Throws OutOfWork where that takes more intervals than are allowed: columns that tie within
// rounding may make it many times the work above.
template <class Moments>
LayeredOptimum optimal_layers(const Points& points, const Pyramid<Moments>& pyramid,
                              const Placement& placement, std::size_t k, Want want,
                              const Parallel& parallel, Allowance& allowance);

// The same however many intervals it takes.
template <class Moments>
LayeredOptimum optimal_layers(const Points& points, const Pyramid<Moments>& pyramid,
                              const Placement& placement, std::size_t k, Want want,
                              const Parallel& parallel);

}  // namespace wkmeans
