// What becomes of items of all kinds.
#include <doctest/doctest.h>

#include <cmath>

#include "batch/answers.h"
#include "math/half.h"

using namespace wkmeans;
using namespace wkmeans::testing;

TEST_CASE("a team names the first items that nobody can cluster, and solves the other problems") {
  constexpr std::size_t kProblems = 4;
  constexpr std::size_t kItems = 50;
  const Items sound = ordinary_items(kProblems * kItems, 721);
  const cuda::BatchOptions options = batch_options(3, CentroidFormat::float64, false, Zero::free);
  const Answers expected = answers(batch_of(sound, true, kProblems), options, solve_as_one_team);
  CHECK(expected.errors.weight == cuda::BadItems::kNone);
  CHECK(expected.errors.importance == cuda::BadItems::kNone);
  CHECK(expected.errors.quartic_importance == cuda::BadItems::kNone);
  Items bad = sound;
  bad.weight[70] = INFINITY;
  bad.weight[60] = NAN;
  bad.importance[80] = -1e-300;
  bad.importance[90] = NAN;
  bad.quartic_importance[130] = INFINITY;
  const Answers own = answers(batch_of(bad, true, kProblems), options, solve_as_one_team);
  CHECK(own.errors.weight == 60);
  CHECK(own.errors.importance == 80);
  CHECK(own.errors.quartic_importance == 130);
  for (const std::size_t problem : {0, 3}) {
    CHECK(own.costs[problem] == expected.costs[problem]);
    CHECK(own.lower_bounds[problem] == expected.lower_bounds[problem]);
  }
}

TEST_CASE("importances that are zero throughout count one each") {
  Items items = ordinary_items(100, 722);
  items.importance.assign(100, 0.0);
  items.quartic_importance.assign(100, 0.0);
  Items unit = items;
  unit.importance.assign(100, 1.0);
  const cuda::BatchOptions options = batch_options(4, CentroidFormat::float64, false, Zero::free);
  const Answers expected = answers(batch_of(unit, false), options, solve_as_one_team);
  CHECK(expected == answers(batch_of(items, false), options, solve_as_one_team));
  CHECK(expected == answers(batch_of(items, true), options, solve_as_one_team));
  cuda::Batch absent = batch_of(items, false);
  absent.importance = {};
  CHECK(expected == answers(absent, options, solve_as_one_team));
}

TEST_CASE("fewer values than centroids cost nothing, and surplus centroids name no label") {
  Items items;
  for (int i = 0; i < 40; ++i) {
    items.weight.push_back(i % 3 - 1.0);
    items.importance.push_back(1.0);
  }
  const Answers own =
      answers(batch_of(items, false), batch_options(5, CentroidFormat::float32, false, Zero::free),
              solve_as_one_team);
  CHECK(own.centroids == std::vector<double>{-1.0, 0.0, 1.0, 1.0, 1.0});
  CHECK(own.costs[0] == 0.0);
  CHECK(own.lower_bounds[0] == 0.0);
  for (std::size_t i = 0; i < 40; ++i) CHECK(own.labels[i] == i % 3);
}

TEST_CASE("items of every type are read where they lie") {
  constexpr std::size_t kItems = 30;
  Random random(723);
  // Three problems side by side, an item a row; one row of importances for all of them.
  std::vector<float> singles(3 * kItems);
  std::vector<std::uint16_t> halves(3 * kItems), bfloats(3 * kItems);
  for (std::size_t i = 0; i < singles.size(); ++i) {
    halves[i] = static_cast<std::uint16_t>(random.below(0x7c00) | (random.below(2) << 15));
    bfloats[i] = static_cast<std::uint16_t>(0x3f00 + random.below(0x100));
    singles[i] = static_cast<float>(random.normal());
  }
  std::vector<double> importance(kItems);
  for (double& value : importance) value = random.uniform(0.0, 1.0);
  const struct {
    const void* values;
    cuda::ItemType type;
    double (*value)(const void*, std::size_t);
  } kinds[] = {
      {halves.data(), cuda::ItemType::float16,
       [](const void* values, std::size_t i) {
         return static_cast<double>(float16_to_float(static_cast<const std::uint16_t*>(values)[i]));
       }},
      {bfloats.data(), cuda::ItemType::bfloat16,
       [](const void* values, std::size_t i) {
         return static_cast<double>(
             bfloat16_to_float(static_cast<const std::uint16_t*>(values)[i]));
       }},
      {singles.data(), cuda::ItemType::float32,
       [](const void* values, std::size_t i) {
         return static_cast<double>(static_cast<const float*>(values)[i]);
       }},
  };
  const cuda::BatchOptions options = batch_options(4, CentroidFormat::float32, false, Zero::free);
  for (const auto& kind : kinds) {
    Items items;
    for (std::size_t problem = 0; problem < 3; ++problem) {
      for (std::size_t i = 0; i < kItems; ++i) {
        items.weight.push_back(kind.value(kind.values, 3 * i + problem));
        items.importance.push_back(importance[i]);
      }
    }
    cuda::Batch strided;
    strided.n_problems = 3;
    strided.n_items = kItems;
    strided.weights = {kind.values, kind.type, 1, 3};
    strided.importance = {importance.data(), cuda::ItemType::float64, 0, 1};
    CHECK(answers(batch_of(items, false, 3), options, solve_as_one_team) ==
          answers(strided, options, solve_as_one_team));
  }
}
