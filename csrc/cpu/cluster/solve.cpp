#include "cpu/cluster/solve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "cpu/base/tuning.h"
#include "cpu/cluster/optimal.h"
#include "cpu/intervals/leaf_sums.h"
#include "cpu/label/codebook.h"
#include "cpu/layered/optimal_values.h"
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

// Where the centroids of an optimum may lie, and what they are stored as.
struct Target {
  double scale;
  Placement format, placement;
};

Target target_of(const Points& points, const SolverOptions& options) {
  const double scale = scale_of(options.format, points, options.exponent);
  return {scale, storage_of(options.format, scale, options.exponent), options.placement(scale)};
}

// Every point's nearest value, if no more than k of them are different: nothing can be better
// (Lemma 17).
bool few_values_suffice(const Points& points, const Placement& placement, std::size_t k,
                        std::vector<double>& values) {
  for (const double weight : points.weight) {
    const double value = placement.nearest(weight);
    if (!values.empty() && value == values.back()) continue;
    if (values.size() == k) return false;
    values.push_back(value);
  }
  return true;
}

// `moments.range(begin, end)`: of a range of points.
template <class Moments>
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

template <class Moments>
std::optional<Solution> solution_of_few_values(const Points& points, const Moments& moments,
                                               const Target& target, std::size_t k) {
  Solution solution;
  if (!few_values_suffice(points, target.placement, k, solution.centroids)) return std::nullopt;
  solution.scale = target.scale;
  solution.lower_bound = cost_below(points, moments, solution.centroids);
  return solution;
}

// `cluster(j, begin, end)`: the moments of the optimum's j-th.
template <class Cluster>
Solution solution_of(const Optimum& optimum, const Points& points, const Target& target,
                     Cluster&& cluster) {
  Solution solution;
  solution.scale = target.scale;
  std::size_t begin = 0;
  for (const std::size_t end : optimum.boundaries) {
    const bool pinned = begin <= points.pin && points.pin < end;
    const std::size_t j = solution.centroids.size();
    const double centroid = pinned ? 0.0 : target.format.centroid(cluster(j, begin, end));
    solution.centroids.push_back(
        target.format.grid() ? centroid
                             : clamp_between(centroid, points.low(begin), points.high(end - 1)));
    begin = end;
  }
  solution.lower_bound = optimum.lower_bound;
  solution.n_iter = optimum.n_rounds;
  return solution;
}

template <class Moments>
auto clusters_of(const Pyramid<Moments>& pyramid) {
  return [&pyramid](std::size_t, std::size_t begin, std::size_t end) {
    return pyramid.range(begin, end);
  };
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

QuarticMoments widened(const QuadraticMoments& m) { return {m.quadratic, {}}; }
QuarticMoments widened(const QuarticMoments& m) { return m; }

// All points from the format's last value on go to it, whatever the codebook: no boundary need lie
// among them, and they are one. Nothing where that joins none.
template <class Moments>
std::optional<Points> joined_beyond(const Points& points, const CentroidGrid& grid,
                                    const Pyramid<Moments>& pyramid) {
  const auto first = points.weight.begin();
  const auto last = points.weight.end();
  const auto below = static_cast<std::size_t>(std::upper_bound(first, last, -grid.largest) - first);
  const auto above = static_cast<std::size_t>(std::lower_bound(first, last, grid.largest) - first);
  if (below < 2 && points.size() - above < 2) return std::nullopt;
  Points joined;
  joined.most_merged = points.most_merged;
  const auto join = [&](std::size_t begin, std::size_t end) {
    if (begin == end) return;
    append_group(
        {widened(pyramid.range(begin, end)), points.low(begin), points.high(end - 1), false},
        points.quartic(), joined);
  };
  join(0, below);
  append_weights(points, below, above, joined);
  join(above, points.size());
  if (points.pin != kNoPoint) joined.pin = points.pin - below + (below > 0 ? 1 : 0);
  return joined;
}

// The optimum among a format's values; `pyramid` is that of the points.
template <class Moments>
Solution solve_on_grid(const CentroidGrid& grid, const Points& points, Pyramid<Moments>& pyramid,
                       const Target& target, const SolverOptions& options,
                       const Parallel& parallel) {
  if (auto found = optimal_values(points, pyramid, grid, options.k, Want::boundaries)) {
    Solution solution;
    solution.centroids = std::move(found->values);
    solution.scale = target.scale;
    solution.lower_bound = found->lower_bound;
    solution.n_iter = 1;
    return solution;
  }
  const std::optional<Points> joined = joined_beyond(points, grid, pyramid);
  if (joined) pyramid.build(*joined, parallel);
  const Points& all = joined ? *joined : points;
  const Optimum optimum = optimal(all, pyramid, target.placement, options.k, parallel);
  return solution_of(optimum, all, target, clusters_of(pyramid));
}

// Leaves the pyramid as it is where squeezing finds the optimum.
template <class Moments>
Solution solve_optimally(const Points& points, Pyramid<Moments>& pyramid,
                         const SolverOptions& options, Search search, const Parallel& parallel) {
  const Target target = target_of(points, options);
  if (auto few = solution_of_few_values(points, DirectMoments<Moments>(points), target, options.k))
    return *few;
  if (search == Search::squeeze) {
    const auto squeezed = squeezed_optimum<Moments>(points, options.k);
    if (squeezed && is_certified(*squeezed)) {
      return solution_of(*squeezed, points, target, [&](std::size_t j, std::size_t, std::size_t) {
        return squeezed->clusters[j];
      });
    }
  }
  pyramid.build(points, parallel);
  const std::optional<CentroidGrid>& grid = target.placement.grid();
  if (grid && search != Search::layers)
    return solve_on_grid(*grid, points, pyramid, target, options, parallel);
  const Optimum optimum =
      search == Search::layers
          ? layered_optimum(points, pyramid, target.placement, options.k, parallel)
          : optimal(points, pyramid, target.placement, options.k, parallel);
  return solution_of(optimum, points, target, clusters_of(pyramid));
}

// There is one zero, not two.
Solution with_one_zero(Solution solution) {
  for (double& centroid : solution.centroids) centroid += 0.0;
  return solution;
}

}  // namespace

template <class Moments>
Solution solve(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
               Search search, std::int64_t problem, const Parallel& parallel) {
  if (options.solver == Solver::optimal)
    return with_one_zero(solve_optimally(points, pyramid, options, search, parallel));
  pyramid.build(points, parallel);
  Solution solution = solve_lloyd(points, pyramid, options, problem);
  if (options.certify) {
    solution.lower_bound = solve_optimally(points, pyramid, options, search, parallel).lower_bound;
  }
  return with_one_zero(std::move(solution));
}

template <class Moments>
Solution solve_groups(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
                      const Parallel& parallel, const std::optional<Start>& start) {
  pyramid.build(points, parallel);
  const Target target = target_of(points, options);
  if (points.groups.empty()) {
    if (auto few = solution_of_few_values(points, pyramid, target, options.k))
      return with_one_zero(*few);
  }
  const Optimum optimum = optimal(points, pyramid, target.placement, options.k, parallel, start);
  return with_one_zero(solution_of(optimum, points, target, clusters_of(pyramid)));
}

template <class Moments>
std::optional<Solution> solve_bucketed(const BucketedPoints& buckets, const SolverOptions& options,
                                       Pyramid<Moments>& pyramid, PointCollector& collector,
                                       const Parallel& parallel) {
  constexpr double kMostRounding = 1e-10;
  if (buckets.points().size() < tuning::kFilledBucketsPerCluster * options.k) return std::nullopt;
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
template Solution solve(const Points&, Pyramid<QuadraticMoments>&, const SolverOptions&, Search,
                        std::int64_t, const Parallel&);
template Solution solve(const Points&, Pyramid<QuarticMoments>&, const SolverOptions&, Search,
                        std::int64_t, const Parallel&);

}  // namespace wkmeans
