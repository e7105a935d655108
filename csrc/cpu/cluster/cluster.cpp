#include "cpu/cluster/cluster.h"

#include <algorithm>
#include <optional>

#include "cpu/cluster/certificate.h"
#include "cpu/descent/curve.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/label/assign.h"
#include "cpu/label/bucket_labels.h"
#include "cpu/read/buckets.h"
#include "cpu/read/histogram.h"
#include "cpu/read/points.h"
#include "cpu/read/scaled_problem.h"

namespace wkmeans {
namespace {

// What one thread needs to solve one problem after another.
struct Workspace {
  PointCollector collector;
  Pyramid<QuadraticMoments> quadratic;
  Pyramid<QuarticMoments> quartic;
};

struct Labelled {
  double cost;
  double n_roundings;  // between an item and that cost, at most
};

template <class Label>
Labelled label_all(const Problems& problems, std::int64_t problem, const Points& points,
                   const std::vector<double>& centroids, bool unit_importance,
                   const Parallel& parallel, Label* labels) {
  if (fills_histogram(problems)) {
    label_halves(problems, problem, centroids, parallel, labels);
    return {histogram_cost(points, centroids), kHistogramRoundings};
  }
  const double cost = assign(problems, problem, centroids, unit_importance, parallel, labels);
  return {cost, assign_roundings(problems.weights->n_items())};
}

// How many roundings make the importance of a point from those of its items, at most.
double roundings_of_points(const Problems& problems, const Points& points) {
  if (fills_histogram(problems)) return kHistogramRoundings;
  return static_cast<double>(points.most_merged);
}

// Whether the buckets sufficed; figures next to underflow need the points themselves.
template <class Label>
bool cluster_by_buckets(const Problems& problems, std::int64_t problem,
                        const ClusterOptions& options, const Parallel& parallel,
                        Workspace& workspace, const ClusterOutput<Label>& output) {
  if (fills_histogram(problems) || !suits_buckets(problems, options.solver, options.zero))
    return false;
  const BucketedPoints buckets(problems, problem, bucket_count(problems, options.solver.k),
                               parallel);
  const std::optional<Solution> solution =
      problems.quartic() ? solve_bucketed(buckets, options.solver, workspace.quartic,
                                          workspace.collector, parallel)
                         : solve_bucketed(buckets, options.solver, workspace.quadratic,
                                          workspace.collector, parallel);
  if (!solution || solution->lower_bound < kUnderflowing) return false;
  const std::int64_t n = problems.weights->n_items();
  const auto k = static_cast<std::int64_t>(options.solver.k);
  std::copy(solution->centroids.begin(), solution->centroids.end(), output.centroids + problem * k);
  const double cost =
      assign_in_buckets(buckets, solution->centroids, parallel, output.labels + problem * n);
  output.costs[problem] = Rounding{relative_rounding(assign_roundings(n)), 0.0}.above(cost);
  output.lower_bounds[problem] =
      Rounding{relative_rounding(static_cast<double>(n)), 0.0}.below(solution->lower_bound);
  output.scales[problem] = solution->scale;
  output.n_iters[problem] = solution->n_iter;
  return true;
}

template <class Label>
void cluster_one(const Problems& problems, std::int64_t problem, const ClusterOptions& options,
                 const Parallel& parallel, Workspace& workspace,
                 const ClusterOutput<Label>& output) {
  if (cluster_by_buckets(problems, problem, options, parallel, workspace, output)) return;
  const SolverOptions& solver = options.solver;
  // Lloyd's starts count points: equal weights must be one.
  const Ties ties = solver.solver == Solver::optimal ? Ties::split : Ties::merged;
  const Points& points =
      workspace.collector.collect(problems, problem, options.zero, parallel, ties);
  Solution solution = points.quartic()
                          ? solve(points, workspace.quartic, solver, problem, parallel)
                          : solve(points, workspace.quadratic, solver, problem, parallel);
  solution.centroids.resize(solver.k, solution.centroids.back());
  std::copy(solution.centroids.begin(), solution.centroids.end(),
            output.centroids + problem * static_cast<std::int64_t>(solver.k));
  Label* labels = output.labels + problem * problems.weights->n_items();
  const bool unit_importance = workspace.collector.unit_importance();
  const Labelled labelled =
      label_all(problems, problem, points, solution.centroids, unit_importance, parallel, labels);
  const bool exact =
      is_exact(labelled.cost, problems, problem, solution.centroids, labels, unit_importance);
  const double hidden = std::min(labelled.cost, solution.lower_bound) < kUnderflowing
                            ? hidden_by_underflow(points, solution.centroids)
                            : 0.0;
  const Rounding of_cost{relative_rounding(labelled.n_roundings), hidden};
  const Rounding of_bound{relative_rounding(roundings_of_points(problems, points)), hidden};
  output.costs[problem] = exact ? labelled.cost : of_cost.above(labelled.cost);
  output.lower_bounds[problem] = of_bound.below(solution.lower_bound);
  output.scales[problem] = solution.scale;
  output.n_iters[problem] = solution.n_iter;
}

// The same of a problem that was brought into range; labels are those of the weights as they came.
template <class Label>
void cluster_scaled(const ScaledProblem& scaled, const Problems& problems, std::int64_t problem,
                    const ClusterOptions& options, const Parallel& parallel, Workspace& workspace,
                    const ClusterOutput<Label>& output) {
  const auto unscale = [&](double& value) { value = scaled.unscaled_weight(value); };
  ClusterOptions inner = options;
  inner.solver.exponent = scaled.powers().weight;
  if (options.solver.init == Init::given) {
    inner.solver.given_centroids = options.solver.given_for(problem);
    for (double& centroid : inner.solver.given_centroids) centroid = scaled.scaled_weight(centroid);
  }
  std::vector<double> centroids(options.solver.k);
  Label* labels = output.labels + problem * problems.weights->n_items();
  double cost = 0.0;
  double lower_bound = 0.0;
  cluster_one(scaled.view(), 0, inner, parallel, workspace,
              ClusterOutput<Label>{centroids.data(), labels, output.scales + problem, &cost,
                                   &lower_bound, output.n_iters + problem});
  std::for_each(centroids.begin(), centroids.end(), unscale);
  assign(problems, problem, centroids, false, parallel, labels);
  std::copy(centroids.begin(), centroids.end(),
            output.centroids + problem * static_cast<std::int64_t>(centroids.size()));
  if (options.solver.format == CentroidFormat::int8) unscale(output.scales[problem]);
  output.costs[problem] = scaled.unscaled_cost(cost);
  output.lower_bounds[problem] = scaled.unscaled_bound(lower_bound);
}

std::vector<double> curve_of_problem(const Problems& problems, std::int64_t problem,
                                     std::size_t k_max, Zero zero, CentroidFormat format,
                                     const Parallel& parallel, Workspace& workspace, int exponent) {
  const Points& points =
      workspace.collector.collect(problems, problem, zero, parallel, Ties::split);
  return points.quartic()
             ? curve_of(points, workspace.quartic, format, k_max, parallel, exponent)
             : curve_of(points, workspace.quadratic, format, k_max, parallel, exponent);
}

// Starting a thread takes about a tenth of a millisecond: what takes few of these is done sooner by
// one.
Parallel worth_starting(const Parallel& parallel, const Problems& problems, std::size_t k) {
  constexpr std::int64_t kItemsPerCluster = 1024;  // which searching takes as long as
  constexpr std::int64_t kItemsPerQuarticItem = 4;
  constexpr std::int64_t kFewItems = std::int64_t{1} << 18;
  const std::int64_t n = problems.weights->n_items();
  const std::int64_t work = (problems.quartic() ? kItemsPerQuarticItem : 1) * n +
                            kItemsPerCluster * static_cast<std::int64_t>(k);
  return work < kFewItems ? Parallel(1) : parallel;
}

// Many problems go one to a thread, few large ones one after another on all threads. Each problem
// is solved the same way on either path, so that the choice shows in no result.
template <class SolveOne>  // solve_one(problem, parallel, workspace)
void for_each_problem(const Problems& problems, int n_threads, SolveOne&& solve_one) {
  const std::int64_t n_problems = problems.weights->n_problems();
  const bool small = problems.weights->n_items() < 4 * kChunk;
  if (n_problems > 1 && (small || n_problems >= std::int64_t{4} * n_threads)) {
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

}  // namespace

template <class Moments>
std::vector<double> curve_of(const Points& points, Pyramid<Moments>& pyramid, CentroidFormat format,
                             std::size_t k_max, const Parallel& parallel, int exponent) {
  pyramid.build(points, parallel);
  const Placement placement = placement_of(format, scale_of(format, points, exponent), exponent);
  const std::size_t k = std::min(k_max, points.size());
  std::vector<double> curve = optimal_curve(points, pyramid, placement, k, parallel);
  curve.resize(k_max, curve.back());
  return curve;
}

template <class Label>
void cluster(const Problems& problems, const ClusterOptions& options,
             const ClusterOutput<Label>& output) {
  for_each_problem(
      problems, options.n_threads,
      [&](std::int64_t problem, const Parallel& all, Workspace& workspace) {
        const Parallel parallel = worth_starting(all, problems, options.solver.k);
        if (const auto scaled = ScaledProblem::where_needed(problems, problem, parallel)) {
          cluster_scaled(*scaled, problems, problem, options, parallel, workspace, output);
        } else {
          cluster_one(problems, problem, options, parallel, workspace, output);
        }
      });
}

void cost_curve(const Problems& problems, std::size_t k_max, Zero zero, CentroidFormat format,
                int n_threads, double* costs) {
  for_each_problem(
      problems, n_threads,
      [&](std::int64_t problem, const Parallel& parallel, Workspace& workspace) {
        const auto scaled = ScaledProblem::where_needed(problems, problem, parallel);
        std::vector<double> curve =
            scaled
                ? curve_of_problem(scaled->view(), 0, k_max, zero, format, parallel, workspace,
                                   scaled->powers().weight)
                : curve_of_problem(problems, problem, k_max, zero, format, parallel, workspace, 0);
        if (scaled) {
          for (double& cost : curve) cost = scaled->unscaled_cost(cost);
        }
        std::copy(curve.begin(), curve.end(), costs + problem * static_cast<std::int64_t>(k_max));
      });
}

template std::vector<double> curve_of(const Points&, Pyramid<QuadraticMoments>&, CentroidFormat,
                                      std::size_t, const Parallel&, int);
template std::vector<double> curve_of(const Points&, Pyramid<QuarticMoments>&, CentroidFormat,
                                      std::size_t, const Parallel&, int);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint8_t>&);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint16_t>&);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint32_t>&);

}  // namespace wkmeans
