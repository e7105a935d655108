#include "cpu/solve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "cpu/direct_moments.h"
#include "cpu/initial_centroids.h"
#include "cpu/lloyd.h"
#include "cpu/optimal.h"
#include "cpu/small_optimal.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

bool is_certified(const Optimum& optimum) {
  constexpr double kCertified = 1e-9;
  return optimum.cost - optimum.lower_bound <= kCertified * optimum.cost;
}

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

// `find(placement)`: the optimum; nothing where it gives up.
template <class Moments, class Find>
std::optional<Solution> solve_optimal(const Points& points, const Moments& moments,
                                      const SolverOptions& options, Find&& find) {
  Solution solution;
  solution.scale = scale_of(options.format, points);
  const Placement format = placement_of(options.format, solution.scale);
  const Placement placement = options.optimal_in_format ? format : Placement();
  if (few_values_suffice(points, placement, options.k, solution.centroids)) {
    solution.lower_bound = cost_below(points, moments, solution.centroids);
    return solution;
  }
  solution.centroids.clear();
  const std::optional<Optimum> optimum = find(placement);
  if (!optimum) return std::nullopt;
  std::size_t begin = 0;
  for (const std::size_t end : optimum->boundaries) {
    const bool pinned = begin <= points.pin && points.pin < end;
    const double centroid = pinned ? 0.0 : format.centroid(moments.range(begin, end));
    solution.centroids.push_back(
        format.grid() ? centroid
                      : clamp_between(centroid, points.weight[begin], points.weight[end - 1]));
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
  const bool shared = options.given_centroids.size() == options.k;
  const auto first = options.given_centroids.begin() +
                     (shared ? 0 : problem * static_cast<std::int64_t>(options.k));
  return {first, first + static_cast<std::int64_t>(options.k)};
}

double& nearest_to_zero(std::vector<double>& centroids) {
  return *std::min_element(centroids.begin(), centroids.end(),
                           [](double a, double b) { return std::fabs(a) < std::fabs(b); });
}

template <class Moments>
Solution solve_lloyd(const Points& points, const Pyramid<Moments>& pyramid,
                     const SolverOptions& options, std::int64_t problem) {
  Solution solution;
  solution.scale = scale_of(options.format, points);
  if (points.size() < options.k) {
    solution.centroids.assign(points.weight.begin(), points.weight.end());
  } else {
    solution.centroids = initial_centroids(points, options, problem);
    std::sort(solution.centroids.begin(), solution.centroids.end());
    solution.n_iter = lloyd(points, pyramid, options.max_iter, solution.centroids);
  }
  if (points.pin != kNoPoint) nearest_to_zero(solution.centroids) = 0.0;
  const Placement format = placement_of(options.format, solution.scale);
  for (double& centroid : solution.centroids) centroid = format.nearest(centroid);
  return solution;
}

template <class Moments>
std::optional<Solution> solve_small(const Points& points, const SolverOptions& options) {
  return solve_optimal(points, DirectMoments<Moments>(points), options,
                       [&](const Placement& placement) -> std::optional<Optimum> {
                         auto found = small_optimum<Moments>(points, placement, options.k);
                         if (found && !is_certified(*found)) return std::nullopt;
                         return found;
                       });
}

}  // namespace

template <class Moments>
Solution solve(const Points& points, Pyramid<Moments>& pyramid, const SolverOptions& options,
               std::int64_t problem, const Parallel& parallel) {
  const bool optimally = options.solver == Solver::optimal;
  std::optional<Solution> found;
  if (optimally && is_small(points.size(), options.k))
    found = solve_small<Moments>(points, options);
  if (!found) {
    pyramid.build(points, parallel);
    found = optimally ? solve_optimal(points, pyramid, options,
                                      [&](const Placement& placement) {
                                        return std::optional<Optimum>(optimal(
                                            points, pyramid, placement, options.k, parallel));
                                      })
                      : solve_lloyd(points, pyramid, options, problem);
  }
  Solution& solution = *found;
  for (double& centroid : solution.centroids) centroid += 0.0;  // there is one zero, not two
  return std::move(solution);
}

template Solution solve(const Points&, Pyramid<QuadraticMoments>&, const SolverOptions&,
                        std::int64_t, const Parallel&);
template Solution solve(const Points&, Pyramid<QuarticMoments>&, const SolverOptions&, std::int64_t,
                        const Parallel&);

}  // namespace wkmeans
