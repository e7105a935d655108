#include "cpu/prune/prune.h"

#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <stdexcept>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// A mask as the kernels write it, which std::vector<bool> could not hold.
class Mask {
public:
  explicit Mask(std::size_t n) : size_(n), kept_(new bool[n]()) {}

  bool* data() { return kept_.get(); }
  std::vector<bool> values() const { return std::vector<bool>(kept_.get(), kept_.get() + size_); }

private:
  std::size_t size_;
  std::unique_ptr<bool[]> kept_;
};

std::vector<double> scores(const Items& items, bool quartic) {
  std::vector<double> scores;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const double square = items.weight[i] * items.weight[i];
    const double fourth_power = quartic ? items.quartic_importance[i] * (square * square) : 0.0;
    scores.push_back(items.importance[i] * square + fourth_power);
  }
  return scores;
}

// Items [begin, end) by falling score, of equal ones the first one first.
std::vector<std::size_t> ranking(const std::vector<double>& scores, std::size_t begin,
                                 std::size_t end) {
  std::vector<std::size_t> order(end - begin);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = begin + i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  return order;
}

// The best `keep` of every `group` items.
std::vector<bool> slow_mask(const Items& items, std::size_t keep, std::size_t group, bool quartic) {
  const std::vector<double> all_scores = scores(items, quartic);
  std::vector<bool> mask(items.size());
  for (std::size_t begin = 0; begin < items.size(); begin += group) {
    const std::vector<std::size_t> order = ranking(all_scores, begin, begin + group);
    for (std::size_t i = 0; i < keep; ++i) mask[order[i]] = true;
  }
  return mask;
}

std::vector<bool> kept_of_all(const Items& items, std::size_t keep, bool quartic, int n_threads) {
  const ItemProblems problems(items, quartic);
  Mask mask(items.size());
  keep_largest({{problems.view(), 0, mask.data()}}, static_cast<std::int64_t>(keep),
               Parallel(n_threads));
  return mask.values();
}

void check_keeps(const Items& items, bool quartic) {
  const std::size_t n = items.size();
  const std::vector<std::size_t> order = ranking(scores(items, quartic), 0, n);
  for (const std::size_t keep :
       {std::size_t{0}, std::size_t{1}, n / 10, n / 2, n - n / 7, n - 1, n}) {
    CAPTURE(keep);
    std::vector<bool> expected(n);
    for (std::size_t i = 0; i < keep; ++i) expected[order[i]] = true;
    for (const int n_threads : {1, 2, 7}) {
      CHECK(kept_of_all(items, keep, quartic, n_threads) == expected);
    }
  }
}

template <class Draw>  // draw(i): one weight
Items drawn_items(std::size_t n, Random& random, Draw&& draw) {
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(draw(i));
    items.importance.push_back(random.of_decades(-3, 0));
    items.quartic_importance.push_back(random.of_decades(-3, 0));
  }
  return items;
}

Items unit(Items items) {
  items.importance.assign(items.size(), 1.0);
  items.quartic_importance.assign(items.size(), 0.0);
  return items;
}

// Small enough for one sweep, and large enough for a sampled bracket and pieces on several threads.
constexpr std::size_t kSizes[] = {1, 2, 7, 1024, 1025, 65537, 150001};

}  // namespace

TEST_CASE("exactly the largest scores are kept") {
  for_each_family(500, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_keeps(items, false);
    check_keeps(items, true);
  });
  Random random(2);
  for (const std::size_t n : kSizes) {
    CAPTURE(n);
    check_keeps(drawn_items(n, random, [&](std::size_t) { return random.normal(); }), true);
  }
}

TEST_CASE("of equal scores the first are kept") {
  Random random(3);
  for (const std::size_t n : kSizes) {
    for (const std::size_t n_values : {1u, 2u, 3u, 50u}) {
      CAPTURE(n);
      CAPTURE(n_values);
      check_keeps(unit(drawn_items(n, random,
                                   [&](std::size_t) {
                                     const double value =
                                         static_cast<double>(random.below(n_values));
                                     return random.below(2) ? value : -value;
                                   })),
                  true);
    }
  }
}

TEST_CASE("orders that could mislead a sample") {
  Random random(4);
  const std::size_t n = 200003;
  const auto at = [&](std::size_t i) { return static_cast<double>(i + 1); };
  check_keeps(unit(drawn_items(n, random, at)), false);
  check_keeps(unit(drawn_items(n, random, [&](std::size_t i) { return at(n - i); })), false);
  check_keeps(unit(drawn_items(n, random, [&](std::size_t i) { return i % 12 ? 1.0 : at(i); })),
              false);
  check_keeps(unit(drawn_items(n, random, [&](std::size_t i) { return i % 1024 ? 0.0 : at(i); })),
              false);
  check_keeps(
      unit(drawn_items(n, random, [&](std::size_t i) { return i < 3 ? 1e30 : 1e-30 * at(i); })),
      false);
}

TEST_CASE("targets share one budget, even where a sample sees one side of them only") {
  // In pairs, one of which is large: samples fall past the ends of such short targets, on the
  // second.
  for (const std::size_t large : {0u, 1u}) {
    Random random(5);
    Items items = unit(drawn_items(100000, random, [&](std::size_t i) {
      return random.uniform(1.0, 2.0) + (i % 2 == large ? 10.0 : 0.0);
    }));
    const ItemProblems problems(items, false, items.size() / 2);
    for (const std::size_t keep : {20000u, 50000u, 60000u}) {
      CAPTURE(large);
      CAPTURE(keep);
      const std::vector<bool> expected = slow_mask(items, keep, items.size(), false);
      for (const int n_threads : {1, 3}) {
        Mask mask(items.size());
        std::vector<MaskTarget> targets;
        for (std::size_t p = 0; p < items.size() / 2; ++p) {
          targets.push_back({problems.view(), static_cast<std::int64_t>(p), mask.data() + 2 * p});
        }
        keep_largest(targets, static_cast<std::int64_t>(keep), Parallel(n_threads));
        CHECK(mask.values() == expected);
      }
    }
  }
}

TEST_CASE("targets of different sizes and objectives tie by their order") {
  const std::vector<float> first{1.0f, 2.0f, 2.0f};
  const std::vector<float> second{2.0f, -2.0f};
  const std::vector<float> half{0.5f, 0.5f};
  const Operand a = contiguous(first, "weights");
  const Operand b = contiguous(second, "weights");
  const Operand importance = contiguous(half, "importance");
  Mask mask_a(3);
  Mask mask_b(2);
  const Problems plain{&a, nullptr, nullptr};
  const Problems weighted{&b, nullptr, &importance};  // 4 + 8
  keep_largest({{plain, 0, mask_a.data()}, {weighted, 0, mask_b.data()}}, 3, Parallel(2));
  CHECK(mask_a.values() == std::vector<bool>{false, true, false});
  CHECK(mask_b.values() == std::vector<bool>{true, true});
}

TEST_CASE("each problem keeps its own share") {
  Random random(6);
  for (const std::size_t n_problems : {1u, 2u, 50u}) {
    for (const std::size_t n_items : {1u, 9u, 3000u}) {
      CAPTURE(n_problems);
      CAPTURE(n_items);
      const Items items = drawn_items(n_problems * n_items, random, [&](std::size_t) {
        return static_cast<double>(random.below(30));
      });
      const ItemProblems problems(items, true, n_problems);
      for (const std::size_t keep : {std::size_t{0}, n_items / 3, n_items}) {
        for (const int n_threads : kThreadCounts) {
          Mask mask(items.size());
          keep_largest_per_problem(problems.view(), static_cast<std::int64_t>(keep), n_threads,
                                   mask.data());
          CHECK(mask.values() == slow_mask(items, keep, n_items, true));
        }
      }
    }
  }
}

TEST_CASE("a pattern keeps the best of every group") {
  Random random(7);
  struct Pattern {
    std::size_t keep, group;
  };
  for (const Pattern pattern : {Pattern{2, 4}, Pattern{1, 2}, Pattern{0, 3}, Pattern{3, 3},
                                Pattern{4, 8}, Pattern{5, 7}, Pattern{9, 100}}) {
    for (const std::size_t n_groups : {1u, 3u, 2500u}) {
      CAPTURE(pattern.keep);
      CAPTURE(pattern.group);
      CAPTURE(n_groups);
      const std::size_t n_problems = 3;
      const Items items =
          unit(drawn_items(n_problems * n_groups * pattern.group, random,
                           [&](std::size_t) { return static_cast<double>(random.below(5)); }));
      const ItemProblems problems(items, false, n_problems);
      const std::vector<bool> expected = slow_mask(items, pattern.keep, pattern.group, false);
      for (const int n_threads : kThreadCounts) {
        Mask mask(items.size());
        keep_pattern(problems.view(), static_cast<std::int64_t>(pattern.keep),
                     static_cast<std::int64_t>(pattern.group), n_threads, mask.data());
        CHECK(mask.values() == expected);
      }
    }
  }
}

TEST_CASE("scores beyond the range of double are an error, not an order") {
  Items items;
  items.weight = {1.0, 1e200};
  items.importance = {1.0, 1.0};
  items.quartic_importance = {0.0, 0.0};
  CHECK_THROWS_AS(kept_of_all(items, 1, false, 1), std::overflow_error);
}

TEST_CASE("pruning refuses invalid values wherever they stand") {
  Random random(8);
  Items items = drawn_items(100000, random, [&](std::size_t) { return random.normal(); });
  items.importance[70001] = std::numeric_limits<double>::quiet_NaN();
  for (const int n_threads : kThreadCounts) {
    CHECK_THROWS_AS(kept_of_all(items, 10, false, n_threads), InvalidValue);
  }
}
