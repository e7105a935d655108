#include "cpu/cluster/cluster.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "cpu/cluster/certificate.h"
#include "cpu/cluster/solve.h"
#include "cpu/descent/curve.h"
#include "cpu/label/assign.h"
#include "cpu/label/bucket_labels.h"
#include "cpu/label/half_labels.h"
#include "cpu/layered/optimal_values.h"
#include "cpu/read/buckets.h"
#include "cpu/read/collect.h"
#include "cpu/read/scaled_problem.h"
#include "math/rounding.h"

namespace wkmeans {
namespace {

// What one thread needs to solve one problem after another.
template <class Moments>
struct Workspace {
  PointCollector collector;
  Pyramid<Moments> pyramid;
};

template <class Label>
struct Call {
  const Problems& problems;
  const ClusterOptions& options;
  const Route& route;
  const ClusterOutput<Label>& output;
};

// What labelling found, and how many roundings lie one after another, at most, between an item and
// its cost, and between items and the importance of their point.
struct Labelled {
  double cost;
  double roundings_of_cost;
  double roundings_of_points;
};

// `hidden`: what underflow may hide of either figure; `exact`: whether the cost was summed without
// any rounding.
template <class Label>
void report(const Call<Label>& call, std::int64_t problem, Solution solution,
            const Labelled& labelled, double hidden, bool exact) {
  const std::size_t k = call.options.solver.k;
  solution.centroids.resize(k, solution.centroids.back());
  std::copy(solution.centroids.begin(), solution.centroids.end(),
            call.output.centroids + problem * static_cast<std::int64_t>(k));
  const Rounding of_cost{relative_rounding(labelled.roundings_of_cost), hidden};
  const Rounding of_bound{relative_rounding(labelled.roundings_of_points), hidden};
  call.output.costs[problem] = exact ? labelled.cost : of_cost.above(labelled.cost);
  call.output.lower_bounds[problem] = of_bound.below(solution.lower_bound);
  call.output.scales[problem] = solution.scale;
  call.output.n_iters[problem] = solution.n_iter;
}

// Whether the buckets sufficed; figures next to underflow need the points themselves.
template <class Moments, class Label>
bool cluster_in_buckets(const Call<Label>& call, std::int64_t problem, const Parallel& parallel,
                        Workspace<Moments>& workspace) {
  const BucketedPoints buckets(call.problems, problem, call.route.n_buckets, parallel);
  const std::optional<Solution> solution = solve_bucketed(
      buckets, call.options.solver, workspace.pyramid, workspace.collector, parallel);
  if (!solution || solution->lower_bound < kUnderflowing) return false;
  const std::int64_t n = call.problems.weights->n_items();
  const double cost =
      assign_in_buckets(buckets, solution->centroids, parallel, call.output.labels + problem * n);
  report(call, problem, *solution, {cost, assign_roundings(n), static_cast<double>(n)}, 0.0, false);
  return true;
}

template <class Label>
Labelled label(const Call<Label>& call, std::int64_t problem, const Points& points,
               const std::vector<double>& centroids, bool unit_importance, const Parallel& parallel,
               Label* labels) {
  if (call.route.reading == Reading::counted) {
    label_halves(call.problems, problem, centroids, parallel, labels);
    return {histogram_cost(points, centroids), kHistogramRoundings, kHistogramRoundings};
  }
  const double cost = assign(call.problems, problem, centroids, unit_importance, parallel, labels);
  return {cost, assign_roundings(call.problems.weights->n_items()),
          static_cast<double>(points.most_merged)};
}

template <class Moments, class Label>
void cluster_one(const Call<Label>& call, std::int64_t problem, const Parallel& parallel,
                 Workspace<Moments>& workspace) {
  if (call.route.reading == Reading::bucketed &&
      cluster_in_buckets(call, problem, parallel, workspace))
    return;
  const auto& [solver, zero, n_threads, choice] = call.options;
  // Lloyd's starts count points: equal weights must be one.
  const Ties ties = solver.solver == Solver::optimal ? Ties::split : Ties::merged;
  const Points& points =
      workspace.collector.collect(call.problems, problem, call.route.reading, zero, parallel, ties);
  const Search search = call.route.search.value_or(search_of(solver, zero, points.size()));
  const Solution solution = solve(points, workspace.pyramid, solver, search, problem, parallel);
  Label* labels = call.output.labels + problem * call.problems.weights->n_items();
  const bool unit_importance = workspace.collector.unit_importance();
  const Labelled labelled =
      label(call, problem, points, solution.centroids, unit_importance, parallel, labels);
  const bool exact =
      is_exact(labelled.cost, call.problems, problem, solution.centroids, labels, unit_importance);
  const double hidden = std::min(labelled.cost, solution.lower_bound) < kUnderflowing
                            ? hidden_by_underflow(points, solution.centroids)
                            : 0.0;
  report(call, problem, solution, labelled, hidden, exact);
}

// Fills the codebook with all weights that carry importance, if these are few enough.
bool every_weight(const Problems& problems, std::int64_t problem, Zero zero,
                  std::vector<double>& codebook) {
  const std::int64_t n = problems.weights->n_items();
  for (const bool all_count : {false, true}) {
    std::set<double> weights;
    ItemReader<double> reader;
    for (std::int64_t begin = 0; begin < n && weights.size() <= codebook.size();
         begin += kItemBlock) {
      const ItemRun<double> items =
          reader.read(problems, problem, begin, std::min(kItemBlock, n - begin));
      for (std::int64_t i = 0; i < items.count; ++i) {
        const bool counts = all_count || items.importance[i] > 0.0 ||
                            (items.quartic_importance && items.quartic_importance[i] > 0.0);
        if (counts) weights.insert(items.weight[i] + 0.0);
      }
    }
    if (weights.empty()) continue;  // where none carries importance each does
    if (zero == Zero::pinned) weights.insert(0.0);
    if (weights.size() > codebook.size()) return false;
    std::copy(weights.begin(), weights.end(), codebook.begin());
    std::fill(codebook.begin() + static_cast<std::ptrdiff_t>(weights.size()), codebook.end(),
              *weights.rbegin());
    return true;
  }
  return false;
}

// What solving a problem that was brought into range gave for the problem as it came.
struct Unscaled {
  std::vector<double> centroids;
  double scale = 1.0;
  std::int64_t n_iter = 0;
  double cost = 0.0;
  double lower_bound = 0.0;
  bool may_be_lost = false;  // what would be cheaper still
};

template <class Moments, class Label>
Unscaled solve_scaled(const ScaledProblem& scaled, const Call<Label>& call, std::int64_t problem,
                      const Parallel& parallel, Workspace<Moments>& workspace) {
  const auto unscale = [&](double& value) { value = scaled.unscaled_weight(value); };
  ClusterOptions inner = call.options;
  inner.solver.exponent = scaled.powers().weight;
  if (inner.solver.init == Init::given) {
    inner.solver.given_centroids = call.options.solver.given_for(problem);
    for (double& centroid : inner.solver.given_centroids) centroid = scaled.scaled_weight(centroid);
  }
  const Problems view = scaled.view();
  const Route route =
      route_of(facts_of(view, inner.n_threads), inner.solver, inner.zero, inner.route);
  Label* labels = call.output.labels + problem * call.problems.weights->n_items();
  Unscaled found;
  found.centroids.resize(inner.solver.k);
  double cost = 0.0;
  double lower_bound = 0.0;
  cluster_one(Call<Label>{view,
                          inner,
                          route,
                          {found.centroids.data(), labels, &found.scale, &cost, &lower_bound,
                           &found.n_iter}},
              0, parallel, workspace);
  std::for_each(found.centroids.begin(), found.centroids.end(), unscale);
  if (inner.solver.format == CentroidFormat::int8) unscale(found.scale);
  found.cost = scaled.unscaled_cost(cost);
  found.lower_bound = scaled.unscaled_bound(lower_bound);
  found.may_be_lost = scaled.may_be_lost(cost);
  if (found.may_be_lost || scaled.is_lowered()) {
    assign(call.problems, problem, found.centroids, false, parallel, labels);
    found.cost = direct_cost(call.problems, problem, found.centroids, labels);
  }
  return found;
}

// The optimum may cost so little beside the heaviest importances that these hide it: then they are
// lowered as far as a cost that was found allows, which shows where cheaper ones lie.
template <class Moments, class Label>
Unscaled optimum_of_scaled(const ScaledProblem& scaled, const Call<Label>& call,
                           std::int64_t problem, const Parallel& parallel,
                           Workspace<Moments>& workspace) {
  constexpr int kMostLowerings = 4;
  Unscaled best = solve_scaled(scaled, call, problem, parallel, workspace);
  if (call.options.solver.solver != Solver::optimal) return best;
  bool may_be_lost = best.may_be_lost;
  for (int i = 0; i < kMostLowerings && may_be_lost; ++i) {
    const auto lowered = scaled.lowered_to(best.cost, call.problems, problem);
    if (!lowered) break;
    Unscaled found = solve_scaled(*lowered, call, problem, parallel, workspace);
    const double lower_bound = std::max(best.lower_bound, found.lower_bound);
    may_be_lost = found.may_be_lost && found.cost < best.cost;
    if (found.cost < best.cost) best = std::move(found);
    best.lower_bound = lower_bound;
  }
  return best;
}

// Labels are those of the weights as they came.
template <class Moments, class Label>
void cluster_scaled(const ScaledProblem& scaled, const Call<Label>& call, std::int64_t problem,
                    const Parallel& parallel, Workspace<Moments>& workspace) {
  const SolverOptions& solver = call.options.solver;
  const ClusterOutput<Label>& output = call.output;
  const bool stores_all =
      solver.solver == Solver::optimal && solver.format == CentroidFormat::float64;
  Unscaled found;
  found.centroids.resize(solver.k);
  if (!stores_all || !every_weight(call.problems, problem, call.options.zero, found.centroids))
    found = optimum_of_scaled(scaled, call, problem, parallel, workspace);
  assign(call.problems, problem, found.centroids, false, parallel,
         output.labels + problem * call.problems.weights->n_items());
  std::copy(found.centroids.begin(), found.centroids.end(),
            output.centroids + problem * static_cast<std::int64_t>(solver.k));
  output.scales[problem] = found.scale;
  output.n_iters[problem] = found.n_iter;
  output.costs[problem] = found.cost;
  output.lower_bounds[problem] = found.lower_bound;
}

template <class Moments>
std::vector<double> curve_of_problem(const Problems& problems, std::int64_t problem,
                                     std::size_t k_max, Zero zero, CentroidFormat format,
                                     const Parallel& parallel, Workspace<Moments>& workspace,
                                     int exponent) {
  const Reading reading = reading_of_points(facts_of(problems, parallel.n_threads()));
  const Points& points =
      workspace.collector.collect(problems, problem, reading, zero, parallel, Ties::split);
  return curve_of(points, workspace.pyramid, format, k_max, parallel, exponent);
}

template <class Moments, class SolveOne>  // solve_one(problem, parallel, workspace)
void for_each_problem(const Facts& facts, bool at_once, SolveOne&& solve_one) {
  const Parallel parallel(facts.n_threads);
  if (at_once) {
    parallel.run_with_workers(facts.n_problems, [&] {
      return [&, workspace = Workspace<Moments>{}](std::int64_t problem) mutable {
        solve_one(problem, Parallel(1), workspace);
      };
    });
  } else {
    Workspace<Moments> workspace;
    for (std::int64_t problem = 0; problem < facts.n_problems; ++problem)
      solve_one(problem, parallel, workspace);
  }
}

template <class Moments, class Label>
void cluster_all(const Problems& problems, const ClusterOptions& options,
                 const ClusterOutput<Label>& output) {
  const Facts facts = facts_of(problems, options.n_threads);
  const Route route = route_of(facts, options.solver, options.zero, options.route);
  const Call<Label> call{problems, options, route, output};
  for_each_problem<Moments>(
      facts, route.problems_at_once,
      [&](std::int64_t problem, const Parallel& all, Workspace<Moments>& workspace) {
        const Parallel parallel = route.threads_of_a_problem ? all : Parallel(1);
        if (const auto scaled = ScaledProblem::where_needed(problems, problem, parallel)) {
          cluster_scaled(*scaled, call, problem, parallel, workspace);
        } else {
          cluster_one(call, problem, parallel, workspace);
        }
      });
}

template <class Moments>
void curve_of_all(const Problems& problems, std::size_t k_max, Zero zero, CentroidFormat format,
                  int n_threads, double* costs) {
  const Facts facts = facts_of(problems, n_threads);
  for_each_problem<Moments>(
      facts, problems_at_once(facts),
      [&](std::int64_t problem, const Parallel& parallel, Workspace<Moments>& workspace) {
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

}  // namespace

template <class Moments>
std::vector<double> curve_of(const Points& points, Pyramid<Moments>& pyramid, CentroidFormat format,
                             std::size_t k_max, const Parallel& parallel, int exponent) {
  pyramid.build(points, parallel);
  const Placement placement = placement_of(format, scale_of(format, points, exponent), exponent);
  const std::size_t k = std::min(k_max, points.size());
  if (placement.grid()) {
    if (auto found = optimal_values(points, pyramid, *placement.grid(), k, Want::costs)) {
      found->costs.resize(k_max, found->costs.back());
      return std::move(found->costs);
    }
  }
  std::vector<double> curve = optimal_curve(points, pyramid, placement, k, parallel);
  curve.resize(k_max, curve.back());
  return curve;
}

template <class Label>
void cluster(const Problems& problems, const ClusterOptions& options,
             const ClusterOutput<Label>& output) {
  if (problems.quartic()) {
    cluster_all<QuarticMoments>(problems, options, output);
  } else {
    cluster_all<QuadraticMoments>(problems, options, output);
  }
}

void cost_curve(const Problems& problems, std::size_t k_max, Zero zero, CentroidFormat format,
                int n_threads, double* costs) {
  if (problems.quartic()) {
    curve_of_all<QuarticMoments>(problems, k_max, zero, format, n_threads, costs);
  } else {
    curve_of_all<QuadraticMoments>(problems, k_max, zero, format, n_threads, costs);
  }
}

template std::vector<double> curve_of(const Points&, Pyramid<QuadraticMoments>&, CentroidFormat,
                                      std::size_t, const Parallel&, int);
template std::vector<double> curve_of(const Points&, Pyramid<QuarticMoments>&, CentroidFormat,
                                      std::size_t, const Parallel&, int);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint8_t>&);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint16_t>&);
template void cluster(const Problems&, const ClusterOptions&, const ClusterOutput<std::uint32_t>&);

}  // namespace wkmeans
