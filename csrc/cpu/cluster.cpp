#include "cpu/cluster.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/assign.h"
#include "cpu/initial_centroids.h"
#include "cpu/lloyd.h"
#include "cpu/optimal.h"
#include "cpu/optimal_layers.h"
#include "cpu/points.h"
#include "cpu/pyramid.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

struct Solution {
  std::vector<double> centroids;
  double lower_bound = 0.0;
  std::int64_t n_iter = 0;
};

// What one thread needs to solve one problem after another.
struct Workspace {
  PointCollector collector;
  Pyramid<QuadraticMoments> quadratic;
  Pyramid<QuarticMoments> quartic;
};

double rounded(double centroid, CentroidFormat format) {
  return format == CentroidFormat::float32 ? static_cast<double>(static_cast<float>(centroid))
                                           : centroid;
}

// The value of the format at which the cluster costs least. The cost is convex in the centroid, so
// it is one of the two neighbours of the free optimum.
template <class Moments>
double best_rounded(const Moments& moments, CentroidFormat format) {
  const double free = centre(moments).value();
  if (format == CentroidFormat::float64) return free;
  const float near = static_cast<float>(free);
  if (static_cast<double>(near) == free) return free;
  const float other = std::nextafter(near, static_cast<double>(near) < free
                                               ? std::numeric_limits<float>::infinity()
                                               : -std::numeric_limits<float>::infinity());
  const bool near_is_best = cost_about(moments, static_cast<double>(near)) <=
                            cost_about(moments, static_cast<double>(other));
  return static_cast<double>(near_is_best ? near : other);
}

template <class Moments>
Solution solve_optimal(const Points& points, const Pyramid<Moments>& pyramid,
                       const ClusterOptions& options, const Parallel& parallel) {
  Solution solution;
  if (points.size() <= options.k) {
    solution.centroids = points.weight;
    return solution;
  }
  const Optimum optimum = optimal(points, pyramid, options.k, parallel);
  std::size_t begin = 0;
  for (const std::size_t end : optimum.boundaries) {
    const bool pinned = begin <= points.pin && points.pin < end;
    const double centroid = pinned ? 0.0 : best_rounded(pyramid.range(begin, end), options.format);
    solution.centroids.push_back(
        clamp_between(centroid, points.weight[begin], points.weight[end - 1]));
    begin = end;
  }
  solution.lower_bound = optimum.lower_bound;
  solution.n_iter = optimum.n_rounds;
  return solution;
}

std::vector<double> initial_centroids(const Points& points, const ClusterOptions& options,
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
                     const ClusterOptions& options, std::int64_t problem) {
  Solution solution;
  if (points.size() < options.k) {
    solution.centroids = points.weight;
    return solution;
  }
  solution.centroids = initial_centroids(points, options, problem);
  std::sort(solution.centroids.begin(), solution.centroids.end());
  solution.n_iter = lloyd(points, pyramid, options.max_iter, solution.centroids);
  for (double& centroid : solution.centroids) centroid = rounded(centroid, options.format);
  if (points.pin != kNoPoint) nearest_to_zero(solution.centroids) = 0.0;
  return solution;
}

template <class Moments>
Solution solve(const Points& points, Pyramid<Moments>& pyramid, const ClusterOptions& options,
               std::int64_t problem, const Parallel& parallel) {
  pyramid.build(points, parallel);
  return options.solver == Solver::optimal ? solve_optimal(points, pyramid, options, parallel)
                                           : solve_lloyd(points, pyramid, options, problem);
}

template <class Label>
void cluster_one(const Problems& problems, std::int64_t problem, const ClusterOptions& options,
                 const Parallel& parallel, Workspace& workspace,
                 const ClusterOutput<Label>& output) {
  const Points& points = workspace.collector.collect(problems, problem, options.zero, parallel);
  Solution solution = points.quartic()
                          ? solve(points, workspace.quartic, options, problem, parallel)
                          : solve(points, workspace.quadratic, options, problem, parallel);
  solution.centroids.resize(options.k, solution.centroids.back());
  std::copy(solution.centroids.begin(), solution.centroids.end(),
            output.centroids + problem * static_cast<std::int64_t>(options.k));
  output.costs[problem] =
      assign(problems, problem, solution.centroids, workspace.collector.unit_importance(), parallel,
             output.labels + problem * problems.weights->n_items());
  output.lower_bounds[problem] = solution.lower_bound;
  output.n_iters[problem] = solution.n_iter;
}

// Many problems go one to a thread, few large ones one after another on all threads. Each problem
// is solved the same way on either path, so that the choice shows in no result.
template <class SolveOne>  // solve_one(problem, parallel, workspace)
void for_each_problem(const Problems& problems, int n_threads, SolveOne&& solve_one) {
  const std::int64_t n_problems = problems.weights->n_problems();
  const bool small = problems.weights->n_items() < 4 * kChunk;
  if (n_problems > 1 && (small || n_problems >= 4 * n_threads)) {
    Parallel(n_threads).run_with_workers(n_problems, [&] {
      return [&, workspace = Workspace{}](std::int64_t problem) mutable {
        solve_one(problem, Parallel(1), workspace);
      };
    });
  } else {
    Workspace workspace;
    for (std::int64_t problem = 0; problem < n_problems; ++problem) {
      solve_one(problem, Parallel(n_threads), workspace);
    }
  }
}

template <class Moments>
std::vector<double> curve_of(const Points& points, Pyramid<Moments>& pyramid, std::size_t k_max,
                             const Parallel& parallel) {
  pyramid.build(points, parallel);
  const std::size_t k = std::min(k_max, points.size());
  return optimal_layers(points, pyramid, k, Want::costs, parallel).costs;
}

}  // namespace

template <class Label>
void cluster(const Problems& problems, const ClusterOptions& options,
             const ClusterOutput<Label>& output) {
  for_each_problem(problems, options.n_threads,
                   [&](std::int64_t problem, const Parallel& parallel, Workspace& workspace) {
                     cluster_one(problems, problem, options, parallel, workspace, output);
                   });
}

void cost_curve(const Problems& problems, std::size_t k_max, Zero zero, int n_threads,
                double* costs) {
  for_each_problem(
      problems, n_threads,
      [&](std::int64_t problem, const Parallel& parallel, Workspace& workspace) {
        const Points& points = workspace.collector.collect(problems, problem, zero, parallel);
        std::vector<double> curve = points.quartic()
                                        ? curve_of(points, workspace.quartic, k_max, parallel)
                                        : curve_of(points, workspace.quadratic, k_max, parallel);
        curve.resize(k_max, 0.0);
        std::copy(curve.begin(), curve.end(), costs + problem * static_cast<std::int64_t>(k_max));
      });
}

template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint8_t>&);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint16_t>&);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint32_t>&);

}  // namespace wkmeans
