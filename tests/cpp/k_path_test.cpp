#include "cpu/lagrangian/k_path.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

template <class Moments>
double cost_of(const std::vector<Moments>& cells, std::size_t begin, std::size_t end) {
  Moments moments{};
  for (std::size_t i = begin; i < end; ++i) moments = merge(moments, cells[i]);
  return Placement{}.cost(moments);
}

// Of the cheapest path of exactly k edges, from every node to every later one.
template <class Moments>
double least_cost(const std::vector<Moments>& cells, std::size_t k) {
  const std::size_t n = cells.size();
  std::vector<double> costs(n + 1, kInfinite);
  costs[0] = 0.0;
  for (std::size_t edge = 0; edge < k; ++edge) {
    std::vector<double> longer(n + 1, kInfinite);
    for (std::size_t begin = 0; begin < n; ++begin) {
      for (std::size_t end = begin + 1; end <= n && std::isfinite(costs[begin]); ++end)
        longer[end] = std::min(longer[end], costs[begin] + cost_of(cells, begin, end));
    }
    costs = longer;
  }
  return costs[n];
}

std::vector<QuadraticMoments> normal_points(std::uint64_t seed) {
  Items items;
  Random random(seed);
  for (int i = 0; i < 3000; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(1.0);
    items.quartic_importance.push_back(0.0);
  }
  return single_points<QuadraticMoments>(items);
}

double n_intervals(const std::vector<QuadraticMoments>& cells, std::size_t k, double guess,
                   double tolerance) {
  constexpr double kPlenty = 1e9;
  Allowance allowance(kPlenty);
  Sweeper<QuadraticMoments> sweeper(Placement{}, allowance);
  cheapest_path(cells, k, guess, sweeper, tolerance);
  return kPlenty - allowance.left();
}

}  // namespace

TEST_CASE_TEMPLATE("the cheapest path has k edges and costs what the best of all does", Moments,
                   QuadraticMoments, QuarticMoments) {
  for_each_family(12, 5, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    const auto cells = single_points<Moments>(items);
    const double whole = cost_of(cells, 0, cells.size());
    for (std::size_t k = 1; k <= cells.size(); k += 3) {
      const double least = least_cost(cells, k);
      for (const double guess : {1e-9 * whole, 1e-2 * whole, 10.0 * whole}) {
        if (!(guess > 0.0)) continue;
        Allowance unlimited(kInfinite);
        Sweeper<Moments> sweeper(Placement{}, unlimited);
        const KPath path = cheapest_path(cells, k, guess, sweeper);
        REQUIRE(path.nodes.size() == k + 1);
        double cost = 0.0;
        for (std::size_t j = 0; j < k; ++j)
          cost += cost_of(cells, path.nodes[j], path.nodes[j + 1]);
        CHECK(cost <= least + 1e-9 * whole);
        CHECK(path.lower_bound <= least * (1.0 + 1e-12));
        for (const double tolerance : {1e-6 * whole, 1e-2 * whole, whole}) {
          const KPath rough = cheapest_path(cells, k, guess, sweeper, tolerance);
          CHECK(rough.nodes.size() == k + 1);
          for (std::size_t j = 0; j < k; ++j) CHECK(rough.nodes[j] < rough.nodes[j + 1]);
          CHECK(rough.lower_bound <= least * (1.0 + 1e-12));
          CHECK(rough.lower_bound >= least - tolerance - 1e-9 * whole);
        }
      }
    }
  });
}

// Two probes of one number of edges say nothing of how the multiplier falls with it: a search that
// divided by their difference left a near miss by decades, and came back in many sweeps.
TEST_CASE("the multiplier is soon found from a guess that is nearly right") {
  constexpr std::size_t kClusters = 64;
  const auto cells = normal_points(1);
  Allowance unlimited(kInfinite);
  Sweeper<QuadraticMoments> sweeper(Placement{}, unlimited);
  const double found =
      cheapest_path(cells, kClusters, cost_of(cells, 0, cells.size()), sweeper).multiplier;
  const double of_one_sweep = n_intervals(cells, kClusters, found, 0.0);
  for (int percent = -10; percent <= 10; ++percent) {
    CAPTURE(percent);
    const double guess = found * (1.0 + 0.01 * percent);
    CHECK(n_intervals(cells, kClusters, guess, 0.0) <= 6.0 * of_one_sweep);
  }
}

TEST_CASE("a search that may end early looks at fewer intervals") {
  constexpr std::size_t kClusters = 64;
  const auto cells = normal_points(2);
  const double whole = cost_of(cells, 0, cells.size());
  CHECK(n_intervals(cells, kClusters, whole, 1e-4 * whole) <
        n_intervals(cells, kClusters, whole, 0.0));
}
