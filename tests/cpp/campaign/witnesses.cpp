// Solves random problems of hundreds of weights made to hurt, which take branch and bound to its
// cells, and holds the answers against a witness: the partition that the plain layers find, its
// cost summed term by term in quadruple precision. No partition costs less than the optimum, so
// that a lower bound above the witness is false and an answer above it is not optimal, whatever the
// layers rounded; they share no search with what is tested. Usage: witnesses [problems] [seed].
// Prints the first failures, a table of counts, and fails if there are any.
#include <cstdlib>
#include <optional>

#include "campaign/cases.h"
#include "campaign/exact_optimum.h"
#include "campaign/solved_by_cpu.h"
#include "campaign/tally.h"
#include "cpu/cluster/optimal.h"
#include "cpu/cluster/solve.h"
#include "cpu/layered/optimal_layers.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

Case drawn_large_case(std::uint64_t seed) {
  return drawn_case(
      seed, [](Random& random) { return 80 + random.below(random.below(4) ? 400 : 1221); },
      [](Random& random, std::size_t n) {
        constexpr std::size_t kMostClusters = 80;
        return 2 + random.below(std::min(n / 13, kMostClusters));
      });
}

// Points [begin, end).
struct Cluster {
  std::size_t begin, end;
  bool about_zero;
};
using Clusters = std::vector<Cluster>;

struct Found {
  double lower_bound;
  std::optional<double> cost;     // as the solver has it
  std::vector<double> centroids;  // ascending; none where there are only boundaries
  Clusters clusters;
};

struct Problem {
  const Case& c;
  const FormatOption& option;
  Zero zero;
  ExactPoints exact;
  Points points;
  double scale;
  Placement placement;  // what the optimum is among
  std::optional<FormatValues> scaled;

  Problem(const Case& drawn, const FormatOption& format_option, Zero zero_option)
      : c(drawn),
        option(format_option),
        zero(zero_option),
        exact(exact_points(drawn.items, drawn.quartic)),
        points(collected(drawn, zero_option)),
        scale(scale_of(format_option.format, points)) {
    if (option.format == CentroidFormat::int8) scaled.emplace(option.format, scale);
    if (option.optimal_in_format) placement = placement_of(option.format, scale);
  }

  std::string name() const { return name_of(c, option, zero); }

  // The least cost of clusters, with centroids where the optimum may have them.
  Exact cost(const Clusters& clusters) const {
    return sum_over(clusters, [&](std::size_t begin, std::size_t end, const ExactCentroid& best) {
      return option.optimal_in_format ? nearest_cost(begin, end, best)
                                      : exact_cost(exact, begin, end, best);
    });
  }

  // With the centroids of the free optimum stored in the format.
  Exact stored_cost(const Clusters& clusters) const {
    return sum_over(clusters, [&](std::size_t begin, std::size_t end, const ExactCentroid& best) {
      return nearest_cost(begin, end, best);
    });
  }

  // About the centroids themselves, as they are stored.
  Exact cost_about(const Found& found) const {
    Exact sum = 0;
    for (std::size_t j = 0; j < found.clusters.size(); ++j) {
      const auto [begin, end, about_zero] = found.clusters[j];
      sum += exact_cost(exact, begin, end, {found.centroids[j], 0});
    }
    return sum;
  }

  // Of the points as the solvers see them, where one may stand for a zero that is no weight.
  Clusters clusters_below(const std::vector<std::size_t>& boundaries) const {
    Clusters clusters;
    std::size_t first = 0, begin = 0;
    for (const std::size_t last : boundaries) {
      const std::size_t end =
          last == points.size() ? exact.size() : exact_index(points.weight[last]);
      clusters.push_back({begin, end, first <= points.pin && points.pin < last});
      first = last;
      begin = end;
    }
    return clusters;
  }

  // Of every weight nearest to one of the centroids, which ascend.
  Clusters clusters_around(const std::vector<double>& centroids) const {
    Clusters clusters;
    std::size_t begin = 0;
    for (std::size_t j = 0; j < centroids.size(); ++j) {
      std::size_t end = begin;
      const auto is_nearest = [&](double weight) {
        if (j + 1 == centroids.size()) return true;
        const Exact twice = weight * Exact(2);
        return twice <= static_cast<Exact>(centroids[j]) + centroids[j + 1];
      };
      while (end < exact.size() && is_nearest(exact[end].weight)) ++end;
      clusters.push_back({begin, end, zero == Zero::pinned && centroids[j] == 0.0});
      begin = end;
    }
    return clusters;
  }

private:
  static Points collected(const Case& drawn, Zero zero) {
    PointCollector collector;
    const ItemProblems problems(drawn.items, drawn.quartic);
    return collector.collect(problems.view(), 0, Reading::sorted, zero, Parallel(1));
  }

  std::size_t exact_index(double weight) const {
    const auto at =
        std::lower_bound(exact.begin(), exact.end(), weight,
                         [](const ExactPoint& p, double value) { return p.weight < value; });
    return static_cast<std::size_t>(at - exact.begin());
  }

  Exact nearest_cost(std::size_t begin, std::size_t end, const ExactCentroid& centroid) const {
    const auto value = static_cast<double>(centroid.origin + centroid.offset);
    const FormatValues& values = scaled ? *scaled : values_of(option);
    if (values.is_real()) return exact_cost(exact, begin, end, {value, 0});
    Exact least = -1;
    for (const double candidate : values.around(value)) {
      const Exact cost = exact_cost(exact, begin, end, {candidate, 0});
      if (least < 0 || cost < least) least = cost;
    }
    return least;
  }

  template <class FreeCost>
  Exact sum_over(const Clusters& clusters, FreeCost&& cost) const {
    Exact sum = 0;
    for (const Cluster& cluster : clusters) {
      if (cluster.begin == cluster.end) continue;
      sum += cluster.about_zero ? exact_cost(exact, cluster.begin, cluster.end, {0.0, 0})
                                : cost(cluster.begin, cluster.end,
                                       exact_centroid(exact, cluster.begin, cluster.end));
    }
    return sum;
  }
};

struct Witness {
  Exact cost;         // no less than the optimum's
  Exact stored_cost;  // with its centroids stored in the format
  Exact floor;
};

bool is_more(Exact cost, Exact than, Exact floor) {
  return !(cost <= than * (1 + static_cast<Exact>(kOptimal)) + floor);
}

class Campaign {
public:
  void run(std::uint64_t first_seed, std::uint64_t n_cases) {
    for (std::uint64_t seed = first_seed; seed < first_seed + n_cases; ++seed) {
      const Case c = drawn_large_case(seed);
      const FormatOption& option = kFormats[1 + seed % (std::size(kFormats) - 1)];
      for (const Zero zero : {Zero::free, Zero::pinned}) {
        check(seed, Problem(c, kFormats[0], zero));
        check(seed, Problem(c, option, zero));
      }
    }
  }

  std::uint64_t report() const {
    by_family_.print();
    by_option_.print();
    by_solver_.print();
    return by_family_.n_failures();
  }

  // A campaign in which a solver solves nothing has said nothing about it.
  bool has_seen_all() const {
    return by_solver_.has("codebook") && by_solver_.has("branch and bound") &&
           by_solver_.has("buckets");
  }

private:
  void check(std::uint64_t seed, const Problem& problem) {
    if (problem.points.size() <= problem.c.k) return;
    if (problem.c.quartic) {
      check<QuarticMoments>(seed, problem);
    } else {
      check<QuadraticMoments>(seed, problem);
    }
  }

  template <class Moments>
  void check(std::uint64_t seed, const Problem& problem) {
    Pyramid<Moments> pyramid;
    pyramid.build(problem.points, Parallel(1));
    const LayeredOptimum layered = optimal_layers(problem.points, pyramid, problem.placement,
                                                  problem.c.k, Want::boundaries, Parallel(1));
    const Clusters clusters = problem.clusters_below(layered.boundaries);
    const Witness witness{problem.cost(clusters), problem.stored_cost(clusters),
                          underflow(problem.c)};
    judge(seed, "codebook", problem, witness, codebook(problem));
    // At every size, also where other solvers are the faster ones.
    if (const auto found = by_branch_and_bound(problem, pyramid)) {
      judge(seed, "branch and bound", problem, witness, *found);
    }
    if (problem.zero == Zero::free && !problem.option.optimal_in_format) {
      if (const auto found = by_buckets(problem, pyramid)) {
        judge(seed, "buckets", problem, witness, *found);
      }
    }
  }

  static Found codebook(const Problem& problem) {
    const Answer answer = solved_by_cpu(problem.c, problem.option, problem.zero);
    return {answer.lower_bound, answer.cost, answer.centroids,
            problem.clusters_around(answer.centroids)};
  }

  template <class Moments>
  static std::optional<Found> by_branch_and_bound(const Problem& problem,
                                                  const Pyramid<Moments>& pyramid) {
    Allowance allowance(2e7);
    const Optimum optimum = branch_and_bound(problem.points, pyramid, problem.placement,
                                             problem.c.k, allowance, Parallel(1));
    if (!is_certified(optimum)) return std::nullopt;
    return Found{optimum.lower_bound, optimum.cost, {}, problem.clusters_below(optimum.boundaries)};
  }

  template <class Moments>
  static std::optional<Found> by_buckets(const Problem& problem, Pyramid<Moments>& scratch) {
    const ItemProblems problems(problem.c.items, problem.c.quartic);
    SolverOptions options;
    options.k = problem.c.k;
    options.format = problem.option.format;
    PointCollector collector;
    const Problems view = problems.view();
    const Parallel parallel(1);
    const BucketedPoints buckets(view, 0, bucket_count(view.weights->n_items(), options.k),
                                 parallel);
    const std::optional<Solution> solution =
        solve_bucketed(buckets, options, scratch, collector, parallel);
    if (!solution) return std::nullopt;
    return Found{solution->lower_bound, std::nullopt, solution->centroids,
                 problem.clusters_around(solution->centroids)};
  }

  void judge(std::uint64_t seed, const char* solver, const Problem& problem, const Witness& witness,
             const Found& found) {
    const Exact own = problem.cost(found.clusters);
    const Exact summed = found.centroids.empty() ? own : problem.cost_about(found);
    const Exact least = std::min(own, witness.cost);
    Tally tally;
    tally.solved = 1;
    const auto fail = [&](std::uint64_t& count, const char* what) {
      ++count;
      failures_.print(what, seed, problem.c, std::string(solver) + ", " + problem.name(),
                      {found.lower_bound, static_cast<double>(least),
                       found.cost.value_or(static_cast<double>(summed)), found.centroids});
    };
    // Rounded centroids beside a zero are no separate promise. Of others, coarse ones may be
    // nearest to other weights than those that they were the centroids of.
    const bool rounds = !found.centroids.empty() && !problem.option.optimal_in_format;
    const bool judged = !(rounds && problem.zero == Zero::pinned);
    const bool is_optimal = !is_more(own, witness.cost, witness.floor);
    const bool is_stored_optimum = rounds && !is_more(summed, witness.stored_cost, witness.floor);
    if (judged && !is_optimal && !is_stored_optimum) fail(tally.not_optimal, "NOT OPTIMAL");
    if (!(found.lower_bound <= least * (1 + static_cast<Exact>(kExactError)))) {
      fail(tally.false_bound, "FALSE LOWER BOUND");
    }
    if (found.cost && (is_more(*found.cost, summed, witness.floor) ||
                       is_more(summed, *found.cost, witness.floor))) {
      fail(tally.false_cost, "NOT THE COST");
    }
    if (least > witness.floor) {
      if (judged && !is_stored_optimum)
        tally.worst_excess = static_cast<double>(own / witness.cost - 1);
      tally.worst_gap = static_cast<double>(1 - found.lower_bound / least);
      tally.open = tally.worst_gap > kOptimal;
    }
    by_family_.add(problem.c.family, tally);
    by_option_.add(problem.name(), tally);
    by_solver_.add(solver, tally);
  }

  Tallies by_family_, by_option_, by_solver_;
  FailurePrinter failures_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t n_cases = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  Campaign campaign;
  campaign.run(seed, n_cases);
  return campaign.report() == 0 && campaign.has_seen_all() ? EXIT_SUCCESS : EXIT_FAILURE;
}
