// Solves random small problems made to hurt, each with every option, and holds the answers against
// the optimum in quadruple precision: is the clustering optimal, and is lower_bound <= optimum <=
// cost as real numbers? Usage: certificates [problems] [seed] [cpu | team]: by the solver that the
// CPU uses, or by that of many small problems on a device, played on the host. Prints the first
// failures, a table of counts, and fails if there are any.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "campaign/exact_optimum.h"
#include "cpu/cluster.h"
#include "cuda_small_team.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr double kOptimal = 1e-9;  // relative
constexpr int kMostPrinted = 5;    // of a kind

constexpr WeightFamily kHostileWeights[] = {
    {"duplicates", [](Random& r) { return static_cast<double>(r.below(4)); }},
    {"zeros of both signs",
     [](Random& r) { return r.below(2) ? r.normal() : (r.below(2) ? 0.0 : -0.0); }},
    {"offset 1e8, spread 1", [](Random& r) { return 1e8 + r.normal(); }},
    {"clumps of three widths",
     [](Random& r) {
       const double width = std::pow(10.0, -5.0 * static_cast<double>(r.below(3)));
       return static_cast<double>(r.below(3)) + width * r.normal();
     }},
    {"neighbouring floats",
     [](Random& r) { return 1.0 + static_cast<double>(r.below(9)) * 0x1p-52; }},
    {"float32 denormals",
     [](Random& r) { return (static_cast<double>(r.below(81)) - 40.0) * 0x1p-149; }},
    {"float64 denormals",
     [](Random& r) {
       constexpr double kFew[] = {-1e-160, 1e-100, 1.0};
       return r.below(4) ? (static_cast<double>(r.below(81)) - 40.0) * 5e-324 : kFew[r.below(3)];
     }},
    {"the ends of float32's range",
     [](Random& r) {
       constexpr double kEnds[] = {0.0, 0x1p-149, 0x1p-126, 1.0, 3e38, 0x1.fffffep127};
       return (r.below(2) ? 1.0 : -1.0) * kEnds[r.below(6)];
     }},
    {"60 decades", [](Random& r) { return (r.below(2) ? 1.0 : -1.0) * r.of_decades(-30, 30); }},
};

constexpr ImportanceFamily kHostileImportances[] = {
    {"small integers", [](Random& r) { return 1.0 + static_cast<double>(r.below(4)); }},
    {"the ends of float32's range",
     [](Random& r) {
       constexpr double kEnds[] = {0.0, 0x1p-149, 0x1p-126, 1.0, 0x1.fffffep127};
       return kEnds[r.below(5)];
     }},
    {"none", [](Random&) { return 0.0; }},
};

template <class Family>
std::vector<Family> all_of(std::initializer_list<std::pair<const Family*, std::size_t>> lists) {
  std::vector<Family> families;
  for (const auto& list : lists) {
    families.insert(families.end(), list.first, list.first + list.second);
  }
  return families;
}

std::vector<WeightFamily> weight_families() {
  return all_of<WeightFamily>({{kWeightFamilies, std::size(kWeightFamilies)},
                               {kHostileWeights, std::size(kHostileWeights)}});
}

std::vector<ImportanceFamily> importance_families() {
  return all_of<ImportanceFamily>({{kImportanceFamilies, std::size(kImportanceFamilies)},
                                   {kHostileImportances, std::size(kHostileImportances)}});
}

struct FormatOption {
  const char* name;
  CentroidFormat format;
  bool optimal_in_format;
};

constexpr FormatOption kFormats[] = {
    {"free", CentroidFormat::float64, false},
    {"free, in float32", CentroidFormat::float32, false},
    {"float32", CentroidFormat::float32, true},
    {"float16", CentroidFormat::float16, true},
    {"bfloat16", CentroidFormat::bfloat16, true},
    {"float8_e4m3fn", CentroidFormat::float8_e4m3fn, true},
    {"float8_e5m2", CentroidFormat::float8_e5m2, true},
    {"int8", CentroidFormat::int8, true},
};

const FormatValues& values_of(const FormatOption& option) {
  static std::map<CentroidFormat, FormatValues> known;
  return known.try_emplace(option.format, option.format, 1.0).first->second;
}

struct Case {
  Items items;
  std::string family;
  bool quartic;
  std::size_t k;
};

Case drawn_case(std::uint64_t seed) {
  static const std::vector<WeightFamily> weights = weight_families();
  static const std::vector<ImportanceFamily> importances = importance_families();
  Random random(seed);
  const WeightFamily& w = weights[random.below(weights.size())];
  const ImportanceFamily& i = importances[random.below(importances.size())];
  const ImportanceFamily& h = importances[random.below(importances.size())];
  Case drawn;
  drawn.family = w.name;
  drawn.quartic = random.below(2) == 0;
  const std::size_t n = 1 + random.below(random.below(8) ? 9 : 24);
  for (std::size_t item = 0; item < n; ++item) {
    drawn.items.weight.push_back(w.draw(random));
    drawn.items.importance.push_back(i.draw(random));
    drawn.items.quartic_importance.push_back(h.draw(random));
  }
  drawn.k = 1 + random.below(n + 1);
  return drawn;
}

struct Answer {
  std::vector<double> centroids;
  std::vector<std::uint8_t> labels;
  double scale, cost, lower_bound;
};

using Solve = Answer (*)(const Case& c, const FormatOption& option, Zero zero);

Answer solved_by_cpu(const Case& c, const FormatOption& option, Zero zero) {
  ClusterOptions options;
  options.solver.k = c.k;
  options.solver.format = option.format;
  options.solver.optimal_in_format = option.optimal_in_format;
  options.zero = zero;
  Answer answer;
  answer.centroids.resize(c.k);
  answer.labels.resize(c.items.size());
  std::int64_t n_iter = 0;
  const ItemProblems problems(c.items, c.quartic);
  cluster(problems.view(), options,
          ClusterOutput<std::uint8_t>{answer.centroids.data(), answer.labels.data(), &answer.scale,
                                      &answer.cost, &answer.lower_bound, &n_iter});
  return answer;
}

Answer solved_by_team(const Case& c, const FormatOption& option, Zero zero) {
  const auto n = static_cast<std::int64_t>(c.items.size());
  const auto operand = [&](const std::vector<double>& values) {
    return cuda::SmallOperand{values.data(), cuda::ItemType::float64, n, 1};
  };
  cuda::SmallBatch batch{1, n, operand(c.items.weight), operand(c.items.importance), {}};
  if (c.quartic) batch.quartic_importance = operand(c.items.quartic_importance);
  Answer answer;
  answer.centroids.resize(c.k);
  answer.labels.resize(c.items.size());
  cuda::SmallErrors errors;
  solve_on_host(batch, small_options(c.k, option.format, option.optimal_in_format, zero),
                {answer.centroids.data(), answer.labels.data(), cuda::LabelType::uint8,
                 &answer.cost, &answer.lower_bound, &answer.scale, &errors});
  return answer;
}

// Costs below this are made of terms that a double cannot hold to full precision.
double underflow(const Case& c) {
  double most = 1.0;
  for (const double importance : c.items.importance) most = std::max(most, importance);
  for (const double importance : c.items.quartic_importance) most = std::max(most, importance);
  return 1e-300 * static_cast<double>(c.items.size()) * most;
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

struct Tally {
  std::uint64_t solved = 0, not_optimal = 0, false_bound = 0, false_cost = 0, open = 0;
  double worst_excess = 0.0, worst_gap = 0.0;

  std::uint64_t n_failures() const { return not_optimal + false_bound + false_cost; }
  void add(const Tally& other) {
    solved += other.solved;
    not_optimal += other.not_optimal;
    false_bound += other.false_bound;
    false_cost += other.false_cost;
    open += other.open;
    worst_excess = std::max(worst_excess, other.worst_excess);
    worst_gap = std::max(worst_gap, other.worst_gap);
  }
};

void print_failure(std::uint64_t seed, const Case& c, const FormatOption& option, Zero zero,
                   const char* what, const Answer& answer, Exact optimum) {
  std::printf("%s: case %" PRIu64 ", %s, %s, %s%s, k = %zu\n", what, seed, c.family.c_str(),
              c.quartic ? "quartic" : "quadratic", option.name,
              zero == Zero::pinned ? ", zero" : "", c.k);
  std::printf("  lower bound %.17g, optimum %.17g, cost %.17g\n", answer.lower_bound,
              static_cast<double>(optimum), answer.cost);
  const auto print_row = [](const char* name, const std::vector<double>& values) {
    std::printf("  %s", name);
    for (const double value : values) std::printf(" %.17g,", value);
    std::printf("\n");
  };
  print_row("w", c.items.weight);
  print_row("I", c.items.importance);
  if (c.quartic) print_row("H", c.items.quartic_importance);
  print_row("c", answer.centroids);
}

class Campaign {
public:
  explicit Campaign(Solve solve) : solve_(solve) {}

  void run(std::uint64_t first_seed, std::uint64_t n_cases) {
    for (std::uint64_t seed = first_seed; seed < first_seed + n_cases; ++seed) {
      const Case c = drawn_case(seed);
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
    std::uint64_t n_failures = 0;
    print_table(by_family_);
    print_table(by_option_);
    for (const auto& entry : by_family_) n_failures += entry.second.n_failures();
    return n_failures;
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
      if (n_printed_[what]++ < kMostPrinted) {
        print_failure(seed, c, option, zero, what, answer, optimum.cost);
      }
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
    by_family_[c.family].add(tally);
    by_option_[std::string(c.quartic ? "quartic, " : "quadratic, ") + option.name +
               (zero == Zero::pinned ? ", zero" : "")]
        .add(tally);
  }

  static void print_table(const std::map<std::string, Tally>& tallies) {
    std::printf("%-36s%10s%9s%8s%8s%8s%12s%12s\n", "", "solved", "not opt.", "bound", "cost",
                "open", "most excess", "widest gap");
    for (const auto& [name, t] : tallies) {
      std::printf("%-36s%10" PRIu64 "%9" PRIu64 "%8" PRIu64 "%8" PRIu64 "%8" PRIu64
                  "%12.1e%12.1e\n",
                  name.c_str(), t.solved, t.not_optimal, t.false_bound, t.false_cost, t.open,
                  t.worst_excess, t.worst_gap);
    }
  }

  Solve solve_;
  std::map<std::string, Tally> by_family_, by_option_;
  std::map<std::string, int> n_printed_;
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
