// Descends the cost curve of random small problems made to hurt, and holds every cost against the
// optimum in quadruple precision. Usage: curves [problems] [seed]. Prints the first failures, a
// table of counts, and fails if there are any.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "campaign/cases.h"
#include "campaign/exact_optimum.h"
#include "cpu/cluster/optimal.h"
#include "cpu/descent/descent.h"
#include "cpu/read/collect.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr double kOptimal = 1e-9;  // relative
constexpr double kMostWork = 1e9;
constexpr int kMostPrinted = 5;

struct Tally {
  std::uint64_t steps = 0, not_taken = 0, not_optimal = 0;
};

class Curves {
public:
  void run(std::uint64_t first_seed, std::uint64_t n_cases) {
    for (std::uint64_t seed = first_seed; seed < first_seed + n_cases; ++seed) {
      // Real centroids in every case, the formats in turn.
      const FormatOption& format = kFormats[2 + seed % (std::size(kFormats) - 2)];
      for (const Zero zero : {Zero::free, Zero::pinned}) {
        check(seed, kFormats[0], zero);
        check(seed, format, zero);
      }
    }
  }

  std::uint64_t report() const {
    std::uint64_t n_failures = 0;
    std::printf("%-36s%10s%11s%10s\n", "", "steps", "not taken", "not opt.");
    for (const auto& [name, t] : tallies_) {
      std::printf("%-36s%10" PRIu64 "%11" PRIu64 "%10" PRIu64 "\n", name.c_str(), t.steps,
                  t.not_taken, t.not_optimal);
      n_failures += t.not_optimal;
    }
    return n_failures;
  }

private:
  void check(std::uint64_t seed, const FormatOption& option, Zero zero) {
    const Case drawn = drawn_small_case(seed);
    const ItemProblems problems(drawn.items, drawn.quartic);
    PointCollector collector;
    const Points& points =
        collector.collect(problems.view(), 0, Reading::sorted, zero, Parallel(1), Ties::split);
    if (points.size() < 2) return;
    if (points.quartic()) {
      check<QuarticMoments>(seed, drawn, points, option, zero);
    } else {
      check<QuadraticMoments>(seed, drawn, points, option, zero);
    }
  }

  template <class Moments>
  void check(std::uint64_t seed, const Case& drawn, const Points& points,
             const FormatOption& option, Zero zero) {
    const double scale = scale_of(option.format, points);
    const Placement placement = placement_of(option.format, scale);
    const ExactPoints exact = exact_points(drawn.items, drawn.quartic);
    const IntervalCosts intervals(exact);
    const std::vector<Exact> costs = option.optimal_in_format
                                         ? intervals.placed(FormatValues(option.format, scale))
                                         : intervals.free();
    const std::vector<ExactPartition> optima = exact_optima(
        intervals, costs, zero == Zero::pinned ? &intervals.about_zero() : nullptr, points.size());
    Pyramid<Moments> pyramid;
    pyramid.build(points, Parallel(1));
    Tally& tally = tallies_[drawn.family + (drawn.quartic ? ", quartic" : ", quadratic")];
    std::optional<Descent<Moments>> descent;
    for (std::size_t k = points.size() - 1; k > 0; --k) {
      if (descent) ++tally.steps;
      if (descent && descent->step(kMostWork)) {
        judge(seed, drawn, option, zero, k, descent->cost(), optima[k - 1].cost, tally);
        continue;
      }
      if (descent) ++tally.not_taken;
      descent.emplace(points, pyramid, placement,
                      optimal(points, pyramid, placement, k, Parallel(1)));
    }
  }

  void judge(std::uint64_t seed, const Case& drawn, const FormatOption& option, Zero zero,
             std::size_t k, double cost, Exact optimum, Tally& tally) {
    const Exact off = cost > optimum ? cost - optimum : optimum - cost;
    if (off <= optimum * static_cast<Exact>(kOptimal) + underflow(drawn)) return;
    ++tally.not_optimal;
    if (n_printed_++ >= kMostPrinted) return;
    std::printf("NOT OPTIMAL: case %" PRIu64 ", %s, %s, %s%s, k = %zu: %.17g, optimum %.17g\n",
                seed, drawn.family.c_str(), drawn.quartic ? "quartic" : "quadratic", option.name,
                zero == Zero::pinned ? ", zero" : "", k, cost, static_cast<double>(optimum));
  }

  std::map<std::string, Tally> tallies_;
  int n_printed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t n_cases = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  Curves curves;
  curves.run(seed, n_cases);
  return curves.report() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
