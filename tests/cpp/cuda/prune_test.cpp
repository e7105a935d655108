#include "cuda/prune/prune.h"

#include <doctest/doctest.h>

#include <limits>
#include <memory>

#include "batches.h"
#include "cpu/prune/prune.h"
#include "host_backend.h"

namespace wkmeans::cuda::testing {
namespace {

using Mask = std::unique_ptr<bool[]>;

Mask mask_of(const Items& items) { return Mask(new bool[items.size()]()); }

void check_same(const Mask& actual, const Mask& expected, std::size_t n) {
  CHECK(std::equal(actual.get(), actual.get() + n, expected.get()));
}

Items tied_items(std::size_t n, std::size_t n_values, std::uint64_t seed) {
  Random random(seed);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(static_cast<double>(random.below(n_values)));
    items.importance.push_back(1.0);
    items.quartic_importance.push_back(static_cast<double>(random.below(2)));
  }
  return items;
}

void check_each(const Items& items, bool quartic, std::size_t n_problems) {
  const std::size_t n = items.size() / n_problems;
  const ItemProblems problems(items, quartic, n_problems);
  for (const std::size_t keep : {std::size_t{0}, std::size_t{1}, n / 3, n - 1, n}) {
    CAPTURE(keep);
    const Mask actual = mask_of(items);
    const Mask expected = mask_of(items);
    HostBackend backend;
    keep_largest_per_problem(backend,
                             batch_of(items, quartic, static_cast<std::int64_t>(n_problems)), keep,
                             actual.get());
    wkmeans::keep_largest_per_problem(problems.view(), static_cast<std::int64_t>(keep), 1,
                                      expected.get());
    check_same(actual, expected, items.size());
  }
}

}  // namespace

TEST_CASE("what is kept is what the CPU keeps") {
  for_each_family(600, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_each(items, true, 1);
    check_each(items, false, 1);
    check_each(items, true, 6);
  });
}

TEST_CASE("of equal scores the first are kept, however many there are") {
  check_each(tied_items(200000, 2, 2), false, 1);  // more than the host settles
  check_each(tied_items(200000, 2, 3), true, 1);
  check_each(tied_items(200000, 40000, 4), false, 1);
  check_each(tied_items(3000, 3, 5), true, 30);
}

TEST_CASE("several arrays share one budget") {
  const Items first = tied_items(90000, 3, 6);
  const Items second = tied_items(100, 3, 7);
  const Items third = tied_items(120000, 3, 8);
  const std::vector<const Items*> all{&first, &second, &third};
  std::size_t total = 0;
  for (const Items* items : all) total += items->size();
  for (const std::size_t keep : {std::size_t{0}, total / 5, total / 2, total}) {
    std::vector<PruneTarget> targets;
    std::vector<MaskTarget> cpu_targets;
    std::vector<Mask> actual, expected;
    std::vector<std::unique_ptr<ItemProblems>> problems;
    for (std::size_t number = 0; number < all.size(); ++number) {
      const Items& items = *all[number];
      actual.push_back(mask_of(items));
      expected.push_back(mask_of(items));
      problems.push_back(std::make_unique<ItemProblems>(items, false));
      targets.push_back(targets_of(batch_of(items, false), actual.back().get(), number).front());
      cpu_targets.push_back({problems.back()->view(), 0, expected.back().get()});
    }
    HostBackend backend;
    keep_largest(backend, targets, keep);
    wkmeans::keep_largest(cpu_targets, static_cast<std::int64_t>(keep), Parallel(1));
    for (std::size_t number = 0; number < all.size(); ++number)
      check_same(actual[number], expected[number], all[number]->size());
  }
}

TEST_CASE("patterns keep what the CPU keeps") {
  const Items items = tied_items(960, 5, 9);
  for (const std::int64_t group : {1, 4, 32, 48}) {  // one beyond what a thread holds
    for (const std::int64_t keep : {std::int64_t{0}, group / 2, group}) {
      const Mask actual = mask_of(items);
      const Mask expected = mask_of(items);
      HostBackend backend;
      keep_pattern(backend, batch_of(items, true, 2), keep, group, actual.get());
      wkmeans::keep_pattern(ItemProblems(items, true, 2).view(), keep, group, 1, expected.get());
      check_same(actual, expected, items.size());
    }
  }
}

TEST_CASE("bad values are named, scores beyond float64 refused") {
  Items items = tied_items(500, 9, 10);
  const Mask mask = mask_of(items);
  HostBackend backend;
  items.importance[300] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(keep_largest_per_problem(backend, batch_of(items, true), 5, mask.get()),
                       "importance", BadValue);
  CHECK_THROWS_WITH_AS(keep_pattern(backend, batch_of(items, true), 1, 2, mask.get()), "importance",
                       BadValue);
  items.importance[300] = 1.0;
  items.weight[20] = 1e300;
  CHECK_THROWS_AS(keep_largest_per_problem(backend, batch_of(items, true, 5), 5, mask.get()),
                  std::overflow_error);
}

}  // namespace wkmeans::cuda::testing
