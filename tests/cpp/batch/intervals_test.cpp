// What an interval costs, and how many are looked at.
#include <doctest/doctest.h>

#include <cmath>

#include "batch/answers.h"
#include "cpu/intervals/pyramid.h"
#include "reference.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments, class Placement>
void check_intervals(const Points& points, const Placement& placement,
                     const wkmeans::Placement& cpu_placement) {
  Points copy = points;
  const int n = static_cast<int>(points.size());
  const cuda::TeamPoints small{
      copy.weight.as<double>().data(), copy.importance.as<double>().data(),
      points.quartic() ? copy.quartic_importance.as<double>().data() : nullptr, n};
  using Intervals = cuda::TeamIntervals<Moments, Placement>;
  const auto n_levels = static_cast<std::size_t>(cuda::levels_of(n));
  std::vector<double> halves(n_levels * Intervals::Stored::kCount * points.size(), NAN);
  const auto n_blocks = static_cast<std::size_t>(cuda::blocks_of(n));
  std::vector<Moments> node(n_blocks), before(n_blocks), after(n_blocks);
  Intervals intervals(small, placement, halves.data());
  HostTeam team(7, 1);
  intervals.build(team, {node.data(), before.data(), after.data()});
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  for (int end = 1; end <= n; ++end) {
    int expected = end;
    intervals.visit_starts(end, end - 1, 0, [&](int p, double cost) {
      const double reference = cpu_placement.cost(
          pyramid.range(static_cast<std::size_t>(p), static_cast<std::size_t>(end)));
      const bool is_next = p == --expected;
      const bool is_right = close(cost, reference, 1e-11 * reference + kFloor);
      if (!is_next || !is_right) FAIL_CHECK("points " << p << " to " << end << ": " << cost);
      return true;
    });
    CHECK(expected == 0);
  }
}

}  // namespace

TEST_CASE("any interval's cost is one merge away") {
  for (const std::size_t n : {std::size_t{1}, std::size_t{8}, std::size_t{9}, std::size_t{100}}) {
    for_each_family(n, 703 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      const Points quadratic = sorted_points(items, false);
      const Points quartic = sorted_points(items, true);
      check_intervals<QuadraticMoments>(quadratic, Anywhere{}, Placement());
      check_intervals<QuarticMoments>(quartic, Anywhere{}, Placement());
      const Placement halves = placement_of(CentroidFormat::float16, 1.0);
      check_intervals<QuadraticMoments>(quadratic, OnGrid{*halves.grid()}, halves);
      check_intervals<QuarticMoments>(quartic, OnGrid{*halves.grid()}, halves);
    });
  }
}

namespace {

// Counts the intervals looked at.
struct Counting : Anywhere {
  static inline std::int64_t n_intervals = 0;

  static Counting on(const CentroidGrid& /*grid*/) { return {}; }

  template <class Moments>
  double cost(const Moments& moments) const {
    ++n_intervals;
    return Anywhere::cost(moments);
  }
};

}  // namespace

template <>
struct cuda::StoredMoments<QuadraticMoments, Counting>
    : cuda::StoredMoments<QuadraticMoments, Anywhere> {};

TEST_CASE("a team looks at few intervals, however weights and importances are spread") {
  for_each_family(512, 725, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    constexpr std::int64_t kClusters = 8;
    Counting::n_intervals = 0;
    answers(batch_of(items, false),
            batch_options(kClusters, CentroidFormat::float64, false, Zero::free),
            [](const auto& batch, const auto& options, const auto& outputs) {
              run_on_host<QuadraticMoments, Counting>(batch, options, outputs, {});
            });
    // k n log2 n when halving, half as many again where three rows close a gap.
    CHECK(Counting::n_intervals <= kClusters * 512 * 9 * 3 / 2);
  });
}
