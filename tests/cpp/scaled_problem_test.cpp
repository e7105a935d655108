#include "cpu/read/scaled_problem.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cpu/base/items.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr double kLeast = std::numeric_limits<double>::denorm_min();

ScaledProblem scaled(const Items& items) {
  const Operand weights = contiguous(items.weight, "weights");
  const Operand importance = contiguous(items.importance, "importance");
  auto problem = ScaledProblem::where_needed({&weights, &importance, nullptr}, 0, Parallel(1));
  if (!problem) throw std::logic_error("the problem was in range");
  return std::move(*problem);
}

constexpr float kMost = std::numeric_limits<float>::max();

// Of weights up to this one, whose importances change from `first` to `rest` after some blocks.
template <class Real>
std::optional<PowersOfTwo> powers_of(float weight, float first, float rest) {
  constexpr std::size_t kItems = 5000;
  std::vector<Real> weights, importances;
  for (std::size_t i = 0; i < kItems; ++i) {
    weights.push_back(weight * static_cast<float>(i) / static_cast<float>(kItems));
    importances.push_back(i < kItems / 2 ? first : rest);
  }
  const Operand w = contiguous(weights, "weights");
  const Operand h = contiguous(importances, "quartic_importance");
  const auto scaled = ScaledProblem::where_needed({&w, &h, &h}, 0, Parallel(1));
  return scaled ? std::optional(scaled->powers()) : std::nullopt;
}

}  // namespace

TEST_CASE("what scaling may have lost is no part of a bound") {
  // The second importance is nothing beside the first one, and yet the least double after scaling.
  const ScaledProblem problem =
      scaled({{-0x1p100, 0x1p100, 0x1p99}, {0x1p700, 0x1p-1060, 1.0}, {}});
  const int cost = problem.powers().cost;
  CHECK(problem.powers().weight == 0);
  REQUIRE(std::ldexp(0x1p-1060, cost) == 0.0);
  const double width = 0x1p101;
  const double of_the_second = kLeast * width * width;
  for (const double beyond : {0x1p-3, 1.1, 3.0, 13.0, 100.0, 0x1p30}) {
    const double true_cost = beyond * of_the_second;  // of others
    const double bound = problem.unscaled_bound(true_cost + of_the_second);
    CHECK(bound <= std::ldexp(true_cost, -cost));
    CHECK(problem.may_be_lost(true_cost));
  }
  const double far_above = 0x1p300 * of_the_second;
  CHECK_FALSE(problem.may_be_lost(far_above));
  CHECK(problem.unscaled_bound(far_above) ==
        doctest::Approx(std::ldexp(far_above, -cost)).epsilon(1e-14));
  CHECK(problem.unscaled_bound(far_above) < std::ldexp(far_above, -cost));
  CHECK(problem.unscaled_cost(far_above) > std::ldexp(far_above, -cost));
}

TEST_CASE("where scaling was exact nothing is lost") {
  const ScaledProblem problem = scaled({{-0x1p100, 0x1p100, 0x1p99}, {0x1p700, 3.0, 1.0}, {}});
  const int cost = problem.powers().cost;
  for (const double some : {0x1.8p-900, 0x1p-600, 0x1.fp-100, 1.0}) {
    CHECK(problem.may_be_lost(some) == (some < 0x1p-700));  // by underflow, among the heavy
    CHECK(problem.unscaled_bound(some) == std::ldexp(some, -cost));
    CHECK(problem.unscaled_cost(some) == std::ldexp(some, -cost));
  }
}

TEST_CASE("importances are lowered as far as a cost allows") {
  const Items items{{-1.0, 1.0, 0.5}, {0x1p700, 0x1p-1060, 0x1p-1050}, {}};
  const Operand weights = contiguous(items.weight, "weights");
  const Operand importance = contiguous(items.importance, "importance");
  const Problems problems{&weights, &importance, nullptr};
  const ScaledProblem problem = scaled(items);
  const auto lowered = problem.lowered_to(0x1p-1055, problems, 0);
  REQUIRE(lowered);
  CHECK(lowered->is_lowered());
  ItemReader<double> reader;
  const ItemRun<double> found = reader.read(lowered->view(), 0, 0, 3);
  const int moved = lowered->powers().importance();
  CHECK(found.importance[0] < std::ldexp(0x1p-600, moved));
  CHECK(found.importance[1] == std::ldexp(0x1p-1060, moved));
  CHECK(found.importance[2] == std::ldexp(0x1p-1050, moved));
  CHECK_FALSE(lowered->may_be_lost(std::ldexp(0x1p-1055, lowered->powers().cost)));
  for (const double cost : {0.0, std::numeric_limits<double>::infinity(), 0x1p500})
    CHECK_FALSE(problem.lowered_to(cost, problems, 0));
}

TEST_CASE("importances that need not be read are those that change nothing") {
  int n_scaled = 0;
  int n_in_range = 0;
  for (const float weight : {0.0f, 0x1p-149f, 0x1p-120f, 1.0f, 0x1p60f, 0x1p81f, 0x1p90f, kMost}) {
    for (const float first : {0.0f, 0x1p-149f, 1.0f}) {
      for (const float rest : {0.0f, 0x1p-149f, 1.0f, kMost}) {
        const auto read_as_needed = powers_of<float>(weight, first, rest);
        const auto read_whole = powers_of<double>(weight, first, rest);
        REQUIRE(read_as_needed.has_value() == read_whole.has_value());
        ++(read_whole ? n_scaled : n_in_range);
        if (!read_whole) continue;
        CHECK(read_as_needed->weight == read_whole->weight);
        CHECK(read_as_needed->cost == read_whole->cost);
      }
    }
  }
  CHECK(n_scaled > 0);
  CHECK(n_in_range > 0);
}
