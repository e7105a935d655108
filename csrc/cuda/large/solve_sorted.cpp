#include "cuda/large/solve_sorted.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

#include "cpu/cluster/certificate.h"
#include "cpu/cluster/cluster.h"
#include "cpu/cluster/optimal.h"
#include "cpu/descent/curve.h"
#include "cpu/lloyd/initial_centroids.h"
#include "cpu/lloyd/lloyd_rounds.h"
#include "cuda/large/narrowing.h"
#include "math/centroid.h"

namespace wkmeans::cuda {
namespace {

constexpr std::uint64_t kMostDrawn = 16384;
constexpr double kSummed = 1.0 - 1e-12;  // what rounding may have added to a sum over k groups

WeightGroup whole(SortedWeights& weights) {
  return weights.describe({{0, weights.size()}}).front();
}

template <class Moments>
Solution one_cluster(SortedWeights& weights, const Placement& placement, const Placement& format,
                     Zero zero) {
  const WeightGroup all = whole(weights);
  const Moments moments = Moments::part_of(all.moments);
  Solution solution;
  if (zero == Zero::pinned) {
    solution.centroids = {0.0};
    solution.lower_bound = cost_about(moments, 0.0) * kSummed;
    return solution;
  }
  const double centroid = format.centroid(moments);
  solution.centroids = {format.grid() ? centroid : clamp_between(centroid, all.low, all.high)};
  solution.lower_bound = placement.cost(moments) * kSummed;
  return solution;
}

// Every weight's nearest value of a format, if no more than k of them are different: nothing can be
// better.
template <class Moments>
std::optional<Solution> few_values(SortedWeights& weights, const CentroidGrid& format,
                                   std::size_t k, Zero zero) {
  if (weights.count_runs(format) > k) return std::nullopt;
  std::vector<std::uint64_t> ends = weights.run_starts(format);
  ends.push_back(weights.size());
  std::vector<Range<std::uint64_t>> spans;
  for (std::size_t i = 0; i + 1 < ends.size(); ++i) spans.push_back({ends[i], ends[i + 1]});
  Solution solution;
  for (const WeightGroup& group : weights.describe(spans)) {
    const double value = format.nearest(group.low) + 0.0;
    solution.centroids.push_back(value);
    solution.lower_bound += cost_about(Moments::part_of(group.moments), value) * kSummed;
  }
  if (zero == Zero::pinned) {
    auto& values = solution.centroids;
    const auto place = std::lower_bound(values.begin(), values.end(), 0.0);
    if (place == values.end() || *place != 0.0) values.insert(place, 0.0);
    if (values.size() > k) return std::nullopt;
  }
  return solution;
}

template <class Moments>
Solution optimal_solution(SortedWeights& weights, const SolverOptions& options, double scale,
                          Zero zero, const Parallel& parallel) {
  const Placement format = placement_of(options.format, scale);
  const Placement placement = options.placement(scale);
  if (options.k == 1) return one_cluster<Moments>(weights, placement, format, zero);
  if (placement.grid()) {
    const auto found = few_values<Moments>(weights, *placement.grid(), options.k, zero);
    if (found) return *found;
  }
  Pyramid<Moments> pyramid;
  const Points points = narrowed_points(weights, options.k, placement, zero, pyramid, parallel);
  return solve_groups(points, pyramid, options, parallel);
}

// Rounds of Lloyd on weights held elsewhere. Pinned, zero is a weight of its own that outweighs all
// others: the centroid of its cluster stays there.
template <class Moments>
class RemotePoints {
public:
  RemotePoints(SortedWeights& weights, Zero zero) : weights_(weights), zero_(zero) {}

  void find_boundaries(const std::vector<double>& thresholds,
                       std::vector<std::size_t>& boundaries) {
    const std::vector<std::uint64_t> found = weights_.boundaries(thresholds);
    std::copy(found.begin(), found.end(), boundaries.begin());
    boundaries.back() = weights_.size();
    cluster_of_zero_ = static_cast<std::size_t>(
        std::lower_bound(thresholds.begin(), thresholds.end(), 0.0) - thresholds.begin());
  }

  void recentre(const std::vector<MovedCluster>& moved, std::vector<double>& centroids) {
    std::vector<Range<std::uint64_t>> spans;
    spans.reserve(moved.size());
    for (const MovedCluster& m : moved) spans.push_back({m.begin, m.end});
    const std::vector<WeightGroup> groups = weights_.describe(spans);
    for (std::size_t i = 0; i < moved.size(); ++i) {
      const WeightGroup& group = groups[i];
      centroids[moved[i].cluster] =
          clamp_between(centre(Moments::part_of(group.moments)).value(), group.low, group.high);
    }
    if (zero_ == Zero::pinned) centroids[cluster_of_zero_] = 0.0;
  }

private:
  SortedWeights& weights_;
  Zero zero_;
  std::size_t cluster_of_zero_ = 0;
};

// The different weights by rank, with zero among them where it is pinned.
class DifferentWeights {
public:
  DifferentWeights(SortedWeights& weights, Zero zero)
      : weights_(weights), n_own_(weights.count_runs({})) {
    const std::vector<std::uint64_t> ends =
        weights.boundaries({-std::numeric_limits<double>::denorm_min(), 0.0});
    adds_zero_ = zero == Zero::pinned && ends[0] == ends[1];
  }

  std::size_t size() const { return static_cast<std::size_t>(n_own_) + (adds_zero_ ? 1 : 0); }

  std::vector<double> at(const std::vector<std::size_t>& ranks) {
    std::vector<std::uint64_t> own;
    own.reserve(2 * ranks.size());
    for (const std::size_t rank : ranks) {
      own.push_back(std::min<std::uint64_t>(rank, n_own_ - 1));
      own.push_back(rank > 0 ? rank - 1 : 0);
    }
    const std::vector<double> found = weights_.different_weights(own);
    std::vector<double> values;
    values.reserve(ranks.size());
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      values.push_back(adds_zero_ ? beside_zero(ranks[i], found[2 * i], found[2 * i + 1])
                                  : found[2 * i]);
    }
    return values;
  }

private:
  double beside_zero(std::size_t rank, double same, double before) const {
    if (rank > 0 && before > 0.0) return before;
    return rank < n_own_ && same < 0.0 ? same : 0.0;
  }

  SortedWeights& weights_;
  std::uint64_t n_own_;
  bool adds_zero_ = false;
};

std::vector<double> initial_centroids(DifferentWeights& different, const SolverOptions& options,
                                      std::int64_t problem) {
  switch (options.init) {
    case Init::quantile:
      return different.at(quantile_ranks(different.size(), options.k));
    case Init::linear: {
      const std::vector<double> ends = different.at({0, different.size() - 1});
      return linear_centroids(ends.front(), ends.back(), options.k);
    }
    case Init::kmeans_plus_plus:
      throw std::invalid_argument(
          "init: 'kmeans++' draws from at most " + std::to_string(kMostDrawn) +
          " different weights on CUDA; expected 'quantile', 'linear' or an array of centroids");
    case Init::given:
      break;
  }
  return options.given_for(problem);
}

template <class Moments>
Solution lloyd_solution(SortedWeights& weights, const SolverOptions& options, double scale,
                        Zero zero, std::int64_t problem) {
  Solution solution;
  solution.scale = scale;
  DifferentWeights different(weights, zero);
  solution.centroids = initial_centroids(different, options, problem);
  std::sort(solution.centroids.begin(), solution.centroids.end());
  solution.n_iter =
      lloyd_rounds(RemotePoints<Moments>(weights, zero), options.max_iter, solution.centroids);
  store_lloyd(options.format, zero, solution);
  return solution;
}

template <class Moments>
Solution solve_many(SortedWeights& weights, const SolverOptions& options, Zero zero,
                    std::int64_t problem, const Parallel& parallel) {
  const WeightGroup all = whole(weights);
  const double scale = scale_of(options.format, all.low, all.high);
  const bool is_lloyd = options.solver == Solver::lloyd;
  Solution solution;
  if (is_lloyd) solution = lloyd_solution<Moments>(weights, options, scale, zero, problem);
  if (!is_lloyd || options.certify) {
    const Solution optimum = optimal_solution<Moments>(weights, options, scale, zero, parallel);
    if (is_lloyd) {
      solution.lower_bound = optimum.lower_bound;
    } else {
      solution = optimum;
    }
  }
  solution.scale = scale;
  for (double& centroid : solution.centroids) centroid += 0.0;  // there is one zero, not two
  return solution;
}

double hidden_among(const WeightGroup& all, std::uint64_t size) {
  constexpr double kProducts = 16.0;
  const double importance = all.moments.quadratic.mass + all.moments.quartic.mass;
  return std::numeric_limits<double>::denorm_min() * kProducts *
         (importance + static_cast<double>(size));
}

template <class Moments>
Solved solve_as(SortedWeights& weights, const SolverOptions& options, Zero zero,
                std::int64_t problem, const Parallel& parallel) {
  if (const auto points = all_points(weights, options.k, zero))
    return solve_points(*points, options, problem, parallel);
  Solved solved{solve_many<Moments>(weights, options, zero, problem, parallel)};
  if (solved.solution.lower_bound < kUnderflowing)
    solved.hidden = hidden_among(whole(weights), weights.size());
  return solved;
}

template <class Moments>
std::vector<double> curve_as(SortedWeights& weights, std::size_t k_max, Zero zero,
                             CentroidFormat format, const Parallel& parallel) {
  if (const auto points = all_points(weights, k_max, zero))
    return curve_of_points(*points, k_max, format, parallel);
  const WeightGroup all = whole(weights);
  const Placement placement = placement_of(format, scale_of(format, all.low, all.high));
  Pyramid<Moments> pyramid;
  std::vector<double> curve{one_cluster<Moments>(weights, placement, placement, zero).lower_bound /
                            kSummed};
  for (std::size_t k = 2; k <= k_max; ++k) {
    if (placement.grid()) {
      if (const auto found = few_values<Moments>(weights, *placement.grid(), k, zero)) {
        curve.resize(k_max, found->lower_bound / kSummed);
        break;
      }
    }
    const Points points = narrowed_points(weights, k, placement, zero, pyramid, parallel);
    pyramid.build(points, parallel);
    curve.push_back(optimal(points, pyramid, placement, k, parallel).cost);
  }
  return curve;
}

template <class Moments>
std::vector<double> curve_of(const Points& points, std::size_t k_max, CentroidFormat format,
                             const Parallel& parallel) {
  Pyramid<Moments> pyramid;
  return wkmeans::curve_of(points, pyramid, format, k_max, parallel);
}

template <class Moments>
Solution solution_of(const Points& points, const SolverOptions& options, std::int64_t problem,
                     const Parallel& parallel) {
  Pyramid<Moments> pyramid;
  const Zero zero = points.pin == kNoPoint ? Zero::free : Zero::pinned;
  const Search search = search_of(options, zero, points.size());
  return solve(points, pyramid, options, search, problem, parallel);
}

}  // namespace

Solved solve_points(const Points& points, const SolverOptions& options, std::int64_t problem,
                    const Parallel& parallel) {
  Solved solved{points.quartic()
                    ? solution_of<QuarticMoments>(points, options, problem, parallel)
                    : solution_of<QuadraticMoments>(points, options, problem, parallel)};
  if (solved.solution.lower_bound < kUnderflowing)
    solved.hidden = hidden_by_underflow(points, solved.solution.centroids);
  return solved;
}

Solved solve_sorted(SortedWeights& weights, const SolverOptions& options, Zero zero,
                    std::int64_t problem, const Parallel& parallel) {
  return weights.quartic() ? solve_as<QuarticMoments>(weights, options, zero, problem, parallel)
                           : solve_as<QuadraticMoments>(weights, options, zero, problem, parallel);
}

std::vector<double> curve_of_points(const Points& points, std::size_t k_max, CentroidFormat format,
                                    const Parallel& parallel) {
  return points.quartic() ? curve_of<QuarticMoments>(points, k_max, format, parallel)
                          : curve_of<QuadraticMoments>(points, k_max, format, parallel);
}

std::vector<double> curve_of_sorted(SortedWeights& weights, std::size_t k_max, Zero zero,
                                    CentroidFormat format, const Parallel& parallel) {
  return weights.quartic() ? curve_as<QuarticMoments>(weights, k_max, zero, format, parallel)
                           : curve_as<QuadraticMoments>(weights, k_max, zero, format, parallel);
}

}  // namespace wkmeans::cuda
