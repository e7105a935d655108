#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/cluster/optimal.h"
#include "cpu/cluster/options.h"
#include "cpu/cluster/route.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/buckets.h"
#include "cpu/read/collect.h"

namespace wkmeans {

struct Solution {
  std::vector<double> centroids;  // ascending, at most k, exact in the format
  double scale = 1.0;             // int8: centroids are multiples of it
  double lower_bound = 0.0;       // where certified
  std::int64_t n_iter = 0;
};

// The codebook of one problem's points, none of which stands for a group; `pyramid` is scratch.
template <class Moments>
Solution solve(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
               Search search, std::int64_t problem, const Parallel& parallel);

// Rounds Lloyd's result to the format; where zero is pinned, the centroid nearest to it is zero.
void store_lloyd(CentroidFormat format, Zero zero, Solution& solution, int exponent = 0);

// The optimal codebook of points that stand for groups of weights in which no boundary of it lies;
// there are more of them than k.
template <class Moments>
Solution solve_groups(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
                      const Parallel& parallel, const std::optional<Start>& start = std::nullopt);

// The codebook without ordering all weights: only those around boundaries are collected and sorted.
// Nothing where the buckets cannot tell it to 1e-10: where clusters are narrower than buckets, or
// importances so far apart that rounding inside a bucket counts.
template <class Moments>
std::optional<Solution> solve_bucketed(const BucketedPoints& buckets, const SolverOptions& options,
                                       Pyramid<Moments>& pyramid, PointCollector& collector,
                                       const Parallel& parallel);

}  // namespace wkmeans
