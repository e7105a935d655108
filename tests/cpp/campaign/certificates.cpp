// Solves random small problems made to hurt, each with every option, and holds the answers against
// the optimum in quadruple precision: is the clustering optimal, and is lower_bound <= optimum <=
// cost as real numbers? Usage: certificates [problems] [seed] [cpu | team]: by the solver that the
// CPU uses, or by that of many small problems on a device, played on the host. Prints the first
// failures, a table of counts, and fails if there are any.
#include <cstdlib>
#include <cstring>
#include <map>

#include "batch/host_team.h"
#include "batches.h"
#include "campaign/cases.h"
#include "campaign/exact_optimum.h"
#include "campaign/solved_by_cpu.h"
#include "campaign/tally.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

using Solve = Answer (*)(const Case& c, const FormatOption& option, Zero zero);

Answer solved_by_team(const Case& c, const FormatOption& option, Zero zero) {
  const cuda::Batch batch = cuda::testing::batch_of(c.items, c.quartic);
  Answer answer;
  answer.centroids.resize(c.k);
  answer.labels.resize(c.items.size());
  cuda::BadItems errors;
  solve_on_host(batch, batch_options(c.k, option.format, option.optimal_in_format, zero),
                {answer.centroids.data(), answer.labels.data(), cuda::LabelType::uint8,
                 &answer.cost, &answer.lower_bound, &answer.scale, &errors});
  return answer;
}

// The clusters that the labels make of the points.
std::vector<std::size_t> returned_boundaries(const Case& c, const ExactPoints& points,
                                             const Answer& answer) {
  std::vector<std::size_t> boundaries;
  std::map<double, std::uint8_t> label_of;
  for (std::size_t i = 0; i < c.items.size(); ++i) {
    label_of[c.items.weight[i] + 0.0] = answer.labels[i];
  }
  for (std::size_t i = 1; i <= points.size(); ++i) {
    const bool last = i == points.size();
    if (last || label_of[points[i].weight] != label_of[points[i - 1].weight]) {
      boundaries.push_back(i);
    }
  }
  return boundaries;
}

template <class IntervalCost>
Exact sum_over(const std::vector<std::size_t>& boundaries, IntervalCost&& cost) {
  Exact sum = 0;
  std::size_t begin = 0;
  for (const std::size_t end : boundaries) {
    sum += cost(begin, end);
    begin = end;
  }
  return sum;
}

// What a solver that rounds the free optimum's centroids cannot be asked to beat: of partitions
// that tie as real numbers any may have been rounded.
Exact attainable_when_rounded(const Case& c, const ExactPoints& points,
                              const IntervalCosts& intervals, const ExactPartition& optimum,
                              const FormatOption& option, const Answer& answer) {
  const auto rounded = [&](std::size_t begin, std::size_t end) {
    return option.format == CentroidFormat::float64
               ? intervals.rounded(begin, end)
               : intervals.placed(values_of(option), begin, end);
  };
  const Exact best = sum_over(optimum.boundaries, rounded);
  const std::vector<std::size_t> own = returned_boundaries(c, points, answer);
  const Exact own_cost = sum_over(own, [&](std::size_t begin, std::size_t end) {
    return intervals.free()[intervals.index(begin, end)];
  });
  const bool own_is_optimal = own_cost <= optimum.cost * (1 + static_cast<Exact>(kOptimal));
  return own_is_optimal ? std::max(best, sum_over(own, rounded)) : best;
}

class Campaign {
public:
  explicit Campaign(Solve solve) : solve_(solve) {}

  void run(std::uint64_t first_seed, std::uint64_t n_cases) {
    for (std::uint64_t seed = first_seed; seed < first_seed + n_cases; ++seed) {
      const Case c = drawn_small_case(seed);
      const ExactPoints points = exact_points(c.items, c.quartic);
      const IntervalCosts intervals(points);
      const std::size_t n_formats = std::size(kFormats);
      // Real centroids in every case, the formats in turn.
      check(seed, c, points, intervals, kFormats[0], Zero::free);
      check(seed, c, points, intervals, kFormats[0], Zero::pinned);
      const FormatOption& option = kFormats[1 + seed % (n_formats - 1)];
      check(seed, c, points, intervals, option, Zero::free);
      check(seed, c, points, intervals, option, Zero::pinned);
    }
  }

  std::uint64_t report() const {
    by_family_.print();
    by_option_.print();
    return by_family_.n_failures();
  }

private:
  void check(std::uint64_t seed, const Case& c, const ExactPoints& points,
             const IntervalCosts& intervals, const FormatOption& option, Zero zero) {
    const Answer answer = solve_(c, option, zero);
    const FormatValues scaled(CentroidFormat::int8, answer.scale);
    const FormatValues& values = option.format == CentroidFormat::int8 ? scaled : values_of(option);
    const std::vector<Exact> costs =
        option.optimal_in_format ? intervals.placed(values) : intervals.free();
    const ExactPartition optimum =
        exact_optima(intervals, costs, zero == Zero::pinned ? &intervals.about_zero() : nullptr,
                     c.k)
            .back();
    const Exact floor = underflow(c);
    // Rounded centroids beside a zero are no separate promise: only their certificate is checked.
    const bool rounds = !option.optimal_in_format;
    const Exact attainable =
        rounds && zero == Zero::free
            ? attainable_when_rounded(c, points, intervals, optimum, option, answer)
            : optimum.cost;
    const Exact cost = answer.cost;
    const Exact lower_bound = answer.lower_bound;
    Tally tally;
    tally.solved = 1;
    const auto fail = [&](std::uint64_t& count, const char* what) {
      ++count;
      failures_.print(
          what, seed, c, name_of(c, option, zero),
          {answer.lower_bound, static_cast<double>(optimum.cost), answer.cost, answer.centroids});
    };
    const bool judged = !(rounds && zero == Zero::pinned);
    if (judged && !(cost <= attainable * (1 + static_cast<Exact>(kOptimal)) + floor)) {
      fail(tally.not_optimal, "NOT OPTIMAL");
    }
    if (!(lower_bound <= optimum.cost * (1 + static_cast<Exact>(kExactError)))) {
      fail(tally.false_bound, "FALSE LOWER BOUND");
    }
    if (!(cost >= optimum.cost * (1 - static_cast<Exact>(kExactError)))) {
      fail(tally.false_cost, "COST BELOW THE OPTIMUM");
    }
    if (judged && attainable > floor) {
      tally.worst_excess = static_cast<double>(cost / attainable - 1);
    }
    if (optimum.cost > floor) {
      tally.worst_gap = static_cast<double>(1 - lower_bound / optimum.cost);
      tally.open = tally.worst_gap > kOptimal;
    }
    by_family_.add(c.family, tally);
    by_option_.add(name_of(c, option, zero), tally);
  }

  Solve solve_;
  Tallies by_family_, by_option_;
  FailurePrinter failures_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t n_cases = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const bool by_team = argc > 3 && std::strcmp(argv[3], "team") == 0;
  Campaign campaign(by_team ? solved_by_team : solved_by_cpu);
  campaign.run(seed, n_cases);
  return campaign.report() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
