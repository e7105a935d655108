#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/cluster/optimal.h"
#include "cpu/intervals/format.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/buckets.h"
#include "cpu/read/points.h"

namespace wkmeans {

enum class Solver { optimal, lloyd };
enum class Init { quantile, linear, kmeans_plus_plus, given };

struct SolverOptions {
  std::size_t k = 0;
  Solver solver = Solver::optimal;
  Init init = Init::quantile;
  std::vector<double> given_centroids;  // Init::given: k of them, or k for each problem
  int max_iter = 0;
  bool certify = false;  // Lloyd: the optimum's lower bound beside its own result
  std::uint64_t seed = 0;
  CentroidFormat format = CentroidFormat::float32;
  bool optimal_in_format = false;  // the optimum among the format's values, not the optimum rounded
  int exponent = 0;  // the weights, and with them the format, have been multiplied by 2^exponent

  std::vector<double> given_for(std::int64_t problem) const;
};

struct Solution {
  std::vector<double> centroids;  // ascending, at most k, exact in the format
  double scale = 1.0;             // int8: centroids are multiples of it
  double lower_bound = 0.0;       // where certified
  std::int64_t n_iter = 0;
};

// The codebook of one problem's points; `pyramid` is scratch.
template <class Moments>
Solution solve(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
               std::int64_t problem, const Parallel& parallel);

// Rounds Lloyd's result to the format; where zero is pinned, the centroid nearest to it is zero.
void store_lloyd(CentroidFormat format, Zero zero, Solution& solution, int exponent = 0);

// The optimal codebook of points that stand for groups of weights in which no boundary of it lies;
// there are more of them than k.
template <class Moments>
Solution solve_groups(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
                      const Parallel& parallel, const std::optional<Start>& start = std::nullopt);

// Whether a problem is of the kind and the size at which buckets pay, and how many then.
bool suits_buckets(const Problems& problems, const SolverOptions& options, Zero zero);
std::size_t bucket_count(const Problems& problems, std::size_t k);

// The codebook without ordering all weights: only those around boundaries are collected and sorted.
// Nothing where the buckets cannot tell it to 1e-10: where clusters are narrower than buckets, or
// importances so far apart that rounding inside a bucket counts.
template <class Moments>
std::optional<Solution> solve_bucketed(const BucketedPoints& buckets, const SolverOptions& options,
                                       Pyramid<Moments>& pyramid, PointCollector& collector,
                                       const Parallel& parallel);

}  // namespace wkmeans
