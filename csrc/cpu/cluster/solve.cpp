#include "cpu/cluster/solve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "cpu/cluster/optimal.h"
#include "cpu/intervals/leaf_sums.h"
#include "cpu/lloyd/initial_centroids.h"
#include "cpu/lloyd/lloyd.h"
#include "cpu/squeeze/search.h"
#include "math/centroid.h"

namespace wkmeans {

std::vector<double> SolverOptions::given_for(std::int64_t problem) const {
  const bool shared = given_centroids.size() == k;
  const auto first =
      given_centroids.begin() + (shared ? 0 : problem * static_cast<std::int64_t>(k));
  return {first, first + static_cast<std::int64_t>(k)};
}

void store_lloyd(CentroidFormat format, Zero zero, Solution& solution, int exponent) {
  if (zero == Zero::pinned) {
    *std::min_element(solution.centroids.begin(), solution.centroids.end(),
                      [](double a, double b) { return std::fabs(a) < std::fabs(b); }) = 0.0;
  }
  const Placement placement = storage_of(format, solution.scale, exponent);
  for (double& centroid : solution.centroids) centroid = placement.nearest(centroid);
}

namespace {

// Every point's nearest value, if no more than k of them are different: nothing can be better.
bool few_values_suffice(const Points& points, const Placement& placement, std::size_t k,
                        std::vector<double>& values) {
  values.clear();
  for (const double weight : points.weight) {
    const double value = placement.nearest(weight);
    if (!values.empty() && value == values.back()) continue;
    if (values.size() == k) return false;
    values.push_back(value);
  }
  return true;
}

template <class Moments>  // moments.range(begin, end): of a range of points
double cost_below(const Points& points, const Moments& moments,
                  const std::vector<double>& centroids) {
  double cost = 0.0;
  std::size_t begin = 0;
  const std::vector<std::size_t> boundaries = cluster_boundaries(points, centroids);
  for (std::size_t j = 0; j < boundaries.size(); ++j) {
    if (begin < boundaries[j])
      cost += cost_about(moments.range(begin, boundaries[j]), centroids[j]);
    begin = boundaries[j];
  }
  return cost * (1.0 - 1e-12);
}

// `find(placement)`: the optimum; nothing where it gives up. `cluster(j, begin, end)`: the moments
// of the optimum's j-th.
template <class Moments, class Find, class Cluster>
std::optional<Solution> solve_optimal(const Points& points, const Moments& moments,
                                      const SolverOptions& options, Find&& find,
                                      Cluster&& cluster) {
  Solution solution;
  solution.scale = scale_of(options.format, points, options.exponent);
  const Placement format = storage_of(options.format, solution.scale, options.exponent);
  const Placement placement = options.optimal_in_format
                                  ? placement_of(options.format, solution.scale, options.exponent)
                                  : Placement();
  if (points.groups.empty() &&
      few_values_suffice(points, placement, options.k, solution.centroids)) {
    solution.lower_bound = cost_below(points, moments, solution.centroids);
    return solution;
  }
  solution.centroids.clear();
  const std::optional<Optimum> optimum = find(placement);
  if (!optimum) return std::nullopt;
  std::size_t begin = 0;
  for (const std::size_t end : optimum->boundaries) {
    const bool pinned = begin <= points.pin && points.pin < end;
    const std::size_t j = solution.centroids.size();
    const double centroid = pinned ? 0.0 : format.centroid(cluster(j, begin, end));
    solution.centroids.push_back(
        format.grid() ? centroid
                      : clamp_between(centroid, points.low(begin), points.high(end - 1)));
    begin = end;
  }
  solution.lower_bound = optimum->lower_bound;
  solution.n_iter = optimum->n_rounds;
  return solution;
}

std::vector<double> initial_centroids(const Points& points, const SolverOptions& options,
                                      std::int64_t problem) {
  switch (options.init) {
    case Init::quantile:
      return quantile_centroids(points, options.k);
    case Init::linear:
      return linear_centroids(points, options.k);
    case Init::kmeans_plus_plus:
      return kmeans_plus_plus_centroids(points, options.k, options.seed);
    case Init::given:
      break;
  }
  return options.given_for(problem);
}

template <class Moments>
Solution solve_lloyd(const Points& points, const Pyramid<Moments>& pyramid,
                     const SolverOptions& options, std::int64_t problem) {
  Solution solution;
  solution.scale = scale_of(options.format, points, options.exponent);
  if (points.size() < options.k) {
    solution.centroids.assign(points.weight.begin(), points.weight.end());
  } else {
    solution.centroids = initial_centroids(points, options, problem);
    std::sort(solution.centroids.begin(), solution.centroids.end());
    solution.n_iter = lloyd(points, pyramid, options.max_iter, solution.centroids);
  }
  store_lloyd(options.format, points.pin != kNoPoint ? Zero::pinned : Zero::free, solution,
              options.exponent);
  return solution;
}

template <class Moments>
std::optional<Solution> solve_small(const Points& points, const SolverOptions& options) {
  std::vector<Moments> clusters;
  const auto find = [&](const Placement& placement) -> std::optional<Optimum> {
    if (!is_small(points, placement, options.k)) return std::nullopt;
    auto found = small_optimum<Moments>(points, options.k);
    if (!found || !is_certified(*found)) return std::nullopt;
    clusters.swap(found->clusters);
    return *found;
  };
  return solve_optimal(points, DirectMoments<Moments>(points), options, find,
                       [&](std::size_t j, std::size_t, std::size_t) { return clusters[j]; });
}

template <class Moments>
Solution solve_on(const Points& points, const Pyramid<Moments>& pyramid,
                  const SolverOptions& options, const Parallel& parallel,
                  const std::optional<Start>& start = std::nullopt) {
  const auto find = [&](const Placement& placement) {
    return std::optional<Optimum>(optimal(points, pyramid, placement, options.k, parallel, start));
  };
  const auto cluster = [&](std::size_t, std::size_t begin, std::size_t end) {
    return pyramid.range(begin, end);
  };
  const std::optional<Solution> found = solve_optimal(points, pyramid, options, find, cluster);
  if (!found) throw std::logic_error("optimal() gives up on no problem");
  return *found;
}

// Leaves the pyramid as it is where the problem is small.
template <class Moments>
Solution solve_optimally(const Points& points, Pyramid<Moments>& pyramid,
                         const SolverOptions& options, const Parallel& parallel) {
  if (std::optional<Solution> found = solve_small<Moments>(points, options)) return *found;
  pyramid.build(points, parallel);
  return solve_on(points, pyramid, options, parallel);
}

}  // namespace

template <class Moments>
Solution solve(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
               std::int64_t problem, const Parallel& parallel) {
  Solution solution;
  if (options.solver == Solver::optimal) {
    solution = solve_optimally(points, pyramid, options, parallel);
  } else {
    pyramid.build(points, parallel);
    solution = solve_lloyd(points, pyramid, options, problem);
    if (options.certify)
      solution.lower_bound = solve_optimally(points, pyramid, options, parallel).lower_bound;
  }
  for (double& centroid : solution.centroids) centroid += 0.0;  // there is one zero, not two
  return solution;
}

template <class Moments>
Solution solve_groups(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
                      const Parallel& parallel, const std::optional<Start>& start) {
  pyramid.build(points, parallel);
  Solution solution = solve_on(points, pyramid, options, parallel, start);
  for (double& centroid : solution.centroids) centroid += 0.0;
  return solution;
}

// Enough that most hold no boundary; the sums of the fewest stay in the first caches. Where there
// are many weights, looking into one more bucket costs more than summing a few more.
std::size_t bucket_count(const Problems& problems, std::size_t k) {
  constexpr std::size_t kFewest = 1024;
  constexpr std::size_t kMost = 32768;
  constexpr std::size_t kFewestPerCluster = 256;
  constexpr std::size_t kMostPerCluster = 1024;
  constexpr std::size_t kWeightsPerBucket = 512;
  const auto n = static_cast<std::size_t>(problems.weights->n_items());
  const std::size_t wanted =
      std::clamp(n / kWeightsPerBucket, kFewestPerCluster * k, kMostPerCluster * k);
  return std::clamp(wanted, kFewest, kMost);
}

bool suits_buckets(const Problems& problems, const SolverOptions& options, Zero zero) {
  constexpr std::size_t kMostCentroids = 64;  // for more, most buckets hold a boundary
  constexpr std::size_t kWeightsPerBucket = 16;
  return options.solver == Solver::optimal && !options.optimal_in_format && zero == Zero::free &&
         options.k > 1 && options.k <= kMostCentroids &&
         static_cast<std::size_t>(problems.weights->n_items()) >=
             kWeightsPerBucket * bucket_count(problems, options.k);
}

template <class Moments>
std::optional<Solution> solve_bucketed(const BucketedPoints& buckets, const SolverOptions& options,
                                       Pyramid<Moments>& pyramid, PointCollector& collector,
                                       const Parallel& parallel) {
  constexpr double kMostRounding = 1e-10;
  constexpr std::size_t kPointsPerCluster = 8;
  if (buckets.points().size() < kPointsPerCluster * options.k) return std::nullopt;
  pyramid.build(buckets.points(), parallel);
  const std::optional<Remaining> remaining =
      narrowed(buckets.points(), pyramid, Placement(), options.k, parallel);
  if (!remaining) return std::nullopt;
  const double rounding = buckets.rounding(remaining->upper_bound);
  if (!(rounding <= kMostRounding * remaining->upper_bound)) return std::nullopt;
  const Points points = buckets.opened(remaining->alive, remaining->open, collector);
  if (points.size() <= options.k) return std::nullopt;
  Start start = remaining->next;
  start.worth += 4.0 * rounding;  // of two costs, there and here
  Solution solution = solve_groups(points, pyramid, options, parallel, {start});
  // The optimum may cost far less than what was known of it among buckets.
  if (!(rounding <= kMostRounding * solution.lower_bound)) return std::nullopt;
  solution.lower_bound -= rounding;
  return solution;
}

template std::optional<Solution> solve_bucketed(const BucketedPoints&, const SolverOptions&,
                                                Pyramid<QuadraticMoments>&, PointCollector&,
                                                const Parallel&);
template std::optional<Solution> solve_bucketed(const BucketedPoints&, const SolverOptions&,
                                                Pyramid<QuarticMoments>&, PointCollector&,
                                                const Parallel&);
template Solution solve_groups(const Points&, Pyramid<QuadraticMoments>&, const SolverOptions&,
                               const Parallel&, const std::optional<Start>&);
template Solution solve_groups(const Points&, Pyramid<QuarticMoments>&, const SolverOptions&,
                               const Parallel&, const std::optional<Start>&);
template Solution solve(const Points&, Pyramid<QuadraticMoments>&, const SolverOptions&,
                        std::int64_t, const Parallel&);
template Solution solve(const Points&, Pyramid<QuarticMoments>&, const SolverOptions&, std::int64_t,
                        const Parallel&);

}  // namespace wkmeans
