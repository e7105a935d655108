#include "cpu/read/collect.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

void check_same(const Points& points, const Points& expected) {
  CHECK(points.weight == expected.weight);
  CHECK(points.importance == expected.importance);
  CHECK(points.quartic_importance == expected.quartic_importance);
}

void check_collects(const Items& items, bool quartic) {
  const ItemProblems problems(items, quartic);
  const Points expected = sorted_points(items, quartic);
  for (const int n_threads : kThreadCounts) {
    CAPTURE(n_threads);
    PointCollector collector;
    check_same(
        collector.collect(problems.view(), 0, Reading::sorted, Zero::free, Parallel(n_threads)),
        expected);
    CHECK_FALSE(collector.unit_importance());
  }
}

Items items_on_a_grid(std::size_t n, std::size_t n_values, std::uint64_t seed) {
  Random random(seed);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(0.125 * static_cast<double>(random.below(n_values)) - 1.0);
    items.importance.push_back(random.below(2) ? random.uniform(0.0, 1.0) : 0.0);
    items.quartic_importance.push_back(random.below(2) ? random.uniform(0.0, 1.0) : 0.0);
  }
  items.importance[0] = 1.0;
  return items;
}

// Float32 items in numbers at which points are kept as floats, `n_values` of them different, some
// of the largest importance a float holds.
struct ManyFloats {
  std::vector<float> weight, importance, quartic_importance;
};
ManyFloats many_floats(std::size_t n_values, std::uint64_t seed) {
  constexpr std::size_t kMany = (std::size_t{1} << 20) + 3;
  Random random(seed);
  ManyFloats items;
  for (std::size_t i = 0; i < kMany; ++i) {
    const auto value =
        static_cast<float>(random.below(n_values)) - 0.25f * static_cast<float>(n_values);
    items.weight.push_back(1e-3f * value);
    items.importance.push_back(random.below(1000) ? static_cast<float>(random.of_decades(-9, 3))
                                                  : std::numeric_limits<float>::max());
    items.quartic_importance.push_back(static_cast<float>(random.below(5)) / 3.0f);
  }
  return items;
}

// The sum over each weight's points of their importances.
std::vector<double> summed_by_weight(const Points& points, const Column& importance) {
  std::vector<double> sums;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i == 0 || points.weight[i] != points.weight[i - 1]) sums.push_back(0.0);
    sums.back() += importance[i];
  }
  return sums;
}

// What floats leave out of a sum makes it smaller.
void check_sums(const Points& points, const Column& importance, const Column& merged) {
  const std::vector<double> sums = summed_by_weight(points, importance);
  REQUIRE(sums.size() == merged.size());
  const double rounding = importance.is_narrow() ? 0.0 : 1e-12;
  int n_wrong = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const double least = merged[i] * (1.0 - 0x1p-47 - rounding);
    n_wrong += !(sums[i] >= least && sums[i] <= merged[i] * (1.0 + rounding));
  }
  CHECK(n_wrong == 0);
}

}  // namespace

TEST_CASE("points are the distinct weights that carry importance, ascending") {
  for_each_family(97, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_collects(items, false);
    check_collects(items, true);
  });
}

TEST_CASE("ties merge to the same bits across chunks and threads") {
  for (const std::size_t n_values : {1u, 2u, 3u, 1000u}) {
    CAPTURE(n_values);
    const Items items = items_on_a_grid(150001, n_values, n_values);
    check_collects(items, false);
    check_collects(items, true);
  }
}

TEST_CASE("both zeros are one weight") {
  Items items;
  items.weight = {0.0, -0.0, 1.0, -0.0};
  items.importance = {1.0, 2.0, 4.0, 8.0};
  const ItemProblems problems(items, false);
  PointCollector collector;
  const Points& points =
      collector.collect(problems.view(), 0, Reading::sorted, Zero::free, Parallel(1));
  CHECK(plain(points.weight) == std::vector<double>{0.0, 1.0});
  CHECK(plain(points.importance) == std::vector<double>{11.0, 4.0});
}

TEST_CASE("where nothing carries importance each weight counts 1") {
  Items items;
  items.weight = {3.0, 1.0, 3.0, 2.0};
  items.importance.assign(4, 0.0);
  items.quartic_importance.assign(4, 0.0);
  for (const bool quartic : {false, true}) {
    const ItemProblems problems(items, quartic);
    PointCollector collector;
    const Points& points =
        collector.collect(problems.view(), 0, Reading::sorted, Zero::free, Parallel(2));
    CHECK(collector.unit_importance());
    CHECK(plain(points.weight) == std::vector<double>{1.0, 2.0, 3.0});
    CHECK(plain(points.importance) == std::vector<double>{1.0, 1.0, 2.0});
  }
}

TEST_CASE("quartic importance alone is importance") {
  Items items;
  items.weight = {3.0, 1.0};
  items.importance.assign(2, 0.0);
  items.quartic_importance = {0.0, 2.0};
  const ItemProblems problems(items, true);
  PointCollector collector;
  const Points& points =
      collector.collect(problems.view(), 0, Reading::sorted, Zero::free, Parallel(1));
  CHECK_FALSE(collector.unit_importance());
  CHECK(plain(points.weight) == std::vector<double>{1.0});
}

TEST_CASE("a collector remembers nothing of the problem before") {
  const Items large = items_on_a_grid(3000, 500, 1);
  const Items small = items_on_a_grid(10, 4, 2);
  const ItemProblems large_problems(large, true);
  const ItemProblems small_problems(small, false);
  PointCollector collector;
  collector.collect(large_problems.view(), 0, Reading::sorted, Zero::free, Parallel(1));
  check_same(collector.collect(small_problems.view(), 0, Reading::sorted, Zero::free, Parallel(1)),
             sorted_points(small, false));
}

TEST_CASE("single precision weights keep their order, denormals and extremes included") {
  using Limits = std::numeric_limits<float>;
  const std::vector<float> weights{Limits::max(),  1.0f,         Limits::denorm_min(),
                                   -Limits::max(), 0.0f,         -Limits::denorm_min(),
                                   -1.0f,          Limits::min()};
  const Operand operand = contiguous(weights, "weights");
  PointCollector collector;
  const Points& points =
      collector.collect({&operand, nullptr, nullptr}, 0, Reading::sorted, Zero::free, Parallel(1));
  std::vector<double> expected(weights.begin(), weights.end());
  std::sort(expected.begin(), expected.end());
  CHECK(plain(points.weight) == expected);
}

TEST_CASE("a pinned zero is one more point, which outweighs every other") {
  Items items;
  items.weight = {3.0, -1.0, 2.0};
  items.importance = {1.0, 2.0, 4.0};
  items.quartic_importance = {1.0, 0.0, 0.0};
  for (const bool quartic : {false, true}) {
    for (const double third : {2.0, 0.0}) {
      items.weight[2] = third;
      const ItemProblems problems(items, quartic);
      PointCollector collector;
      const Points points =
          collector.collect(problems.view(), 0, Reading::sorted, Zero::pinned, Parallel(1));
      REQUIRE(points.pin != kNoPoint);
      CHECK(points.weight[points.pin] == 0.0);
      CHECK(points.importance[points.pin] > 1e3 * 7.0);
      CHECK(std::is_sorted(points.weight.begin(), points.weight.end()));
      CHECK(points.size() == (third == 0.0 ? 3 : 4));
      CHECK(points.quartic() == quartic);
      CHECK(collector.collect(problems.view(), 0, Reading::sorted, Zero::free, Parallel(1)).pin ==
            kNoPoint);
    }
  }
}

TEST_CASE("points kept as floats add up to the merged ones, on any number of threads") {
  for (const std::size_t n_values : {3u, 300000u, 4000000u}) {
    CAPTURE(n_values);
    const ManyFloats items = many_floats(n_values, n_values);
    const Operand weights = contiguous(items.weight, "weights");
    const Operand importance = contiguous(items.importance, "importance");
    const Operand quartic_importance = contiguous(items.quartic_importance, "quartic_importance");
    const Problems problems{&weights, &importance, &quartic_importance};
    PointCollector merging;
    const Points& merged =
        merging.collect(problems, 0, Reading::sorted, Zero::free, Parallel(2), Ties::merged);
    CHECK(std::adjacent_find(merged.weight.begin(), merged.weight.end(), std::greater_equal<>()) ==
          merged.weight.end());
    PointCollector splitting;
    const Points points =
        splitting.collect(problems, 0, Reading::sorted, Zero::free, Parallel(1), Ties::split);
    CHECK(points.weight.is_narrow() == (2 * merged.size() > items.weight.size()));
    CHECK(points.size() <= items.weight.size());
    CHECK(points.most_merged == merged.most_merged);
    CHECK(std::is_sorted(points.weight.begin(), points.weight.end()));
    check_sums(points, points.importance, merged.importance);
    check_sums(points, points.quartic_importance, merged.quartic_importance);
    check_same(
        splitting.collect(problems, 0, Reading::sorted, Zero::free, Parallel(3), Ties::split),
        points);
    if (!points.weight.is_narrow()) CHECK(points.size() == merged.size());
  }
}
