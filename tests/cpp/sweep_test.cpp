#include "cpu/lagrangian/sweep.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/intervals/format.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// What every edge costs, (p, i) at p * (n + 1) + i.
template <class Moments>
std::vector<double> edge_costs(const std::vector<Moments>& cells, const Placement& placement) {
  const std::size_t n = cells.size();
  std::vector<double> costs((n + 1) * (n + 1), kInfinite);
  for (std::size_t p = 0; p < n; ++p) {
    Moments moments{};
    for (std::size_t i = p; i < n; ++i) {
      moments = merge(moments, cells[i]);
      costs[p * (n + 1) + i + 1] = placement.cost(moments);
    }
  }
  return costs;
}

// Every node's potential from those of all nodes before it.
std::vector<double> potentials_from_all(const std::vector<double>& edges, std::size_t n,
                                        double multiplier, const std::vector<double>& discounts) {
  std::vector<double> costs(n + 1, kInfinite);
  costs[0] = 0.0;
  for (std::size_t i = 1; i <= n; ++i) {
    for (std::size_t p = 0; p < i; ++p)
      costs[i] = std::min(costs[i], costs[p] + edges[p * (n + 1) + i]);
    costs[i] += multiplier - (i < n && !discounts.empty() ? discounts[i] : 0.0);
  }
  return costs;
}

// Several times, so that whatever a sweep leaves behind meets the next one.
template <class Moments>
void check_sweeps(const std::vector<Moments>& cells, const Placement& placement, Random& random) {
  const std::size_t n = cells.size();
  const std::vector<double> edges = edge_costs(cells, placement);
  Allowance unlimited(kInfinite);
  Sweeper<Moments> sweeper(placement, unlimited);
  for (const double share : {1e-6, 1e-3, 0.02, 0.3, 2.0}) {
    const double multiplier = share * edges[n];
    std::vector<double> discounts(random.below(2) ? n + 1 : 0);
    for (double& discount : discounts)
      discount = random.below(3) ? 0.0 : random.uniform(0.0, multiplier);
    CAPTURE(multiplier);
    const std::vector<double> expected = potentials_from_all(edges, n, multiplier, discounts);
    const Potentials& found = sweeper.run(cells, multiplier, discounts);
    double scale = 0.0;
    int n_wrong = 0;
    for (std::size_t i = 0; i <= n; ++i) {
      scale = std::max(scale, std::fabs(expected[i]) + multiplier);
      n_wrong += !(std::fabs(found.costs[i] - expected[i]) <= 1e-11 * scale);
    }
    CHECK(n_wrong == 0);

    const std::vector<std::uint32_t> path = shortest_path(found);
    double cost = 0.0;
    for (std::size_t j = 1; j < path.size(); ++j) {
      cost += edges[path[j - 1] * (n + 1) + path[j]] + multiplier;
      if (path[j] < n && !discounts.empty()) cost -= discounts[path[j]];
    }
    CHECK(std::fabs(cost - expected[n]) <= 1e-11 * scale);
  }
}

template <class Moments>
void check_families(std::size_t n, std::uint64_t seed, const Placement& placement) {
  Random random(seed);
  for_each_family(n, seed, [&](const Items& items, const std::string& name) {
    CAPTURE(name);
    const std::vector<Moments> cells = single_points<Moments>(items);
    if (cells.size() > 1) check_sweeps(cells, placement, random);
  });
}

}  // namespace

TEST_CASE_TEMPLATE("a sweep finds the shortest paths of all", Moments, QuadraticMoments,
                   QuarticMoments) {
  for (const std::size_t n : {2u, 7u, 8u, 9u, 40u, 129u}) check_families<Moments>(n, n, {});
}

TEST_CASE_TEMPLATE("a sweep finds the shortest paths among the values of a format", Moments,
                   QuadraticMoments, QuarticMoments) {
  const Placement placement = placement_of(CentroidFormat::float8_e4m3fn, 1.0);
  for (const std::size_t n : {9u, 40u}) check_families<Moments>(n, n, placement);
}

// Products of the lightest importances vanish, and Newton's steps overflow.
TEST_CASE("the shortest paths over importances of 380 decades are as short as they look") {
  constexpr double kLightest = std::numeric_limits<double>::denorm_min();
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    Random random(seed);
    Items items;
    for (int i = 0; i < 900; ++i) {
      items.weight.push_back(0x1p62 * random.normal());
      items.importance.push_back(kLightest * static_cast<double>(1 + random.below(4)));
      items.quartic_importance.push_back(std::max(kLightest, random.of_decades(-480, 60)));
    }
    const std::vector<QuarticMoments> cells = single_points<QuarticMoments>(items);
    Allowance unlimited(kInfinite);
    Sweeper<QuarticMoments> sweeper(Placement{}, unlimited);
    for (const double multiplier : {1e120, 1e60, 1.0, 1e-60, 1e-120}) {
      CAPTURE(multiplier);
      const Potentials& found = sweeper.run(cells, multiplier, {});
      const std::vector<std::uint32_t> path = shortest_path(found);
      double length = 0.0;
      for (std::size_t j = 1; j < path.size(); ++j) {
        QuarticMoments moments{};
        for (std::uint32_t v = path[j - 1]; v < path[j]; ++v) moments = merge(moments, cells[v]);
        length += centre(moments).cost + multiplier;
      }
      CHECK(found.costs.back() == doctest::Approx(length).epsilon(1e-10));
    }
  }
}

TEST_CASE("a sweep stops when its work is done") {
  Random random(3);
  Items items;
  for (int i = 0; i < 500; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(1.0);
    items.quartic_importance.push_back(1.0);
  }
  const auto check_stops = [&](auto moments) {
    using Moments = decltype(moments);
    Allowance allowance(300.0);
    Sweeper<Moments> sweeper(Placement{}, allowance);
    CHECK_THROWS_AS(sweeper.run(single_points<Moments>(items), 0.01, {}), OutOfWork);
  };
  check_stops(QuadraticMoments{});
  check_stops(QuarticMoments{});
}
