#include "cpu/squeeze/search.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "cpu/layered/optimal_layers.h"
#include "cpu/squeeze/cells.h"
#include "cpu/squeeze/windows.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments>
void check_against_brute_force(const Points& points) {
  const std::vector<Real> best = brute_force_costs(points, direct_optimal_cost);
  for (std::size_t k = 1; k < points.size(); ++k) {
    CAPTURE(k);
    const auto optimum = squeezed_optimum<Moments>(points, k);
    if (!optimum) continue;  // gave up, and says so
    CHECK(optimum->boundaries.back() == points.size());
    const Real cost = partition_cost(points, optimum->boundaries, direct_optimal_cost);
    CHECK(close(cost, best[k - 1], 1e-11 * best[k - 1]));
    CHECK(optimum->lower_bound <= best[k - 1]);
    CHECK(optimum->lower_bound >= best[k - 1] * (1 - 1e-9));
  }
}

template <class Moments>
void check_against_layers(const Points& points) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  const std::size_t most = std::min<std::size_t>(points.size() - 1, 16);
  const std::vector<double> costs =
      optimal_layers(points, pyramid, Placement(), most, Want::costs, Parallel(1)).costs;
  for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{7}, most}) {
    if (k > most) continue;
    CAPTURE(k);
    const auto optimum = squeezed_optimum<Moments>(points, k);
    if (!optimum) continue;  // gave up, and says so
    const Real cost = partition_cost(points, optimum->boundaries,
                                     [&](const Points&, std::size_t begin, std::size_t end) {
                                       return Placement().cost(pyramid.range(begin, end));
                                     });
    CHECK(close(cost, costs[k - 1], 1e-10 * costs[k - 1]));
    CHECK(optimum->lower_bound <= costs[k - 1] * (1 + 1e-13));
    CHECK(optimum->lower_bound >= costs[k - 1] * (1 - 1e-9));
  }
}

template <class Moments>
LayeredOptimum layered(const Points& points, std::size_t k) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  return optimal_layers(points, pyramid, Placement(), k, Want::boundaries, Parallel(1));
}

// The least cost of j clusters up to each position, boundaries in their windows; the last is that
// of all points.
template <class Moments>
std::vector<Real> window_costs(const Points& points, const Windows& windows) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  std::vector<Real> before(points.size() + 1, INFINITY);
  before[0] = 0;
  for (std::size_t j = 1; j <= windows.n_clusters(); ++j) {
    std::vector<Real> after(points.size() + 1, INFINITY);
    for (std::size_t end = windows.low[j]; end <= windows.high[j]; ++end) {
      for (std::size_t begin = windows.low[j - 1]; begin < end && begin <= windows.high[j - 1];
           ++begin) {
        const Real cost = centre(pyramid.range(begin, end)).cost;
        after[end] = std::min(after[end], before[begin] + cost);
      }
    }
    before = after;
  }
  return before;
}

template <class Moments>
void check_squeezed_windows(const Points& points) {
  for (const std::size_t k : {std::size_t{2}, std::size_t{3}, std::size_t{7}}) {
    CAPTURE(k);
    if (points.size() <= k) continue;
    SqueezeSums<Moments> sums;
    sums.build(points);
    Windows windows = all_windows(points.size(), k);
    REQUIRE(SqueezeLloyd<Moments>(sums).squeeze(1000, windows));
    const std::vector<Real> best = window_costs<Moments>(points, windows);
    const double optimum = layered<Moments>(points, k).costs.back();
    CHECK(close(best.back(), optimum, 1e-10 * optimum));
  }
}

// One more centroid saves the optimum what the layers say, and boundaries inside cells have
// centroids on either side no further apart than that allows.
template <class Moments>
void check_half_gaps(const Points& points, std::size_t k) {
  const std::size_t n = points.size();
  if (n <= k + 1) return;
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  const LayeredOptimum optimum = layered<Moments>(points, k);
  const double cost = optimum.costs.back();
  SqueezeSums<Moments> sums;
  sums.build(points);
  const double rounding = 4.0 * static_cast<double>(k) * sums.cost_error() + 1e-12 * cost;
  const double worth = cost - layered<Moments>(points, k + 1).costs.back() + rounding;
  ClusterMeasure measure;
  measure.measure(points);
  SqueezeGrid grid;
  cut_stretches({{1, n - 1}}, n, grid,
                [&](std::size_t low, std::size_t high, std::vector<std::size_t>& borders) {
                  measure.cut(low, high, 4.0 * static_cast<double>(k), borders);
                });
  gather_sums(sums, grid);
  bound_half_gaps(sums, worth, grid);
  std::size_t begin = 0;
  for (std::size_t j = 0; j + 1 < optimum.boundaries.size(); ++j) {
    const std::size_t end = optimum.boundaries[j];
    const double below = centre(pyramid.range(begin, end)).value();
    const double above = centre(pyramid.range(end, optimum.boundaries[j + 1])).value();
    begin = end;
    const auto after = std::upper_bound(grid.borders.begin(), grid.borders.end(), end);
    const auto cell = static_cast<std::size_t>(after - grid.borders.begin()) - 1;
    if (grid.borders[cell] == end) continue;
    CAPTURE(end);
    const double half_gap = 0.5 * (above - below);
    CHECK(half_gap <= grid.half_gaps[cell] * (1 + 1e-9) + sums.x_error());
  }
}

template <class Moments>
void check_closes(const Points& points) {
  constexpr std::size_t kClusters = 8;
  const auto optimum = squeezed_optimum<Moments>(points, kClusters);
  REQUIRE(optimum);
  const double cost = layered<Moments>(points, kClusters).costs.back();
  CHECK(close(optimum->cost, cost, 1e-11 * cost));
  CHECK(optimum->lower_bound <= cost);
  CHECK(optimum->lower_bound >= cost * (1 - 1e-9));
}

}  // namespace

TEST_CASE("the small search finds the best of all partitions and never certifies more") {
  for (std::size_t n = 2; n <= 9; ++n) {
    for_each_family(n, 160 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      check_against_brute_force<QuadraticMoments>(sorted_points(items, false));
      check_against_brute_force<QuarticMoments>(sorted_points(items, true));
    });
  }
}

TEST_CASE("the small search looks for no centroid beyond the points") {
  // A heavy point at one end drowns the digits of the others' sums.
  Items far;
  far.weight = {-3e38, -1.0, -0x1p-149, 0x1p-126, 3e38, 0x1.fffffep127};
  far.importance = {1.592728389319e15,  1.874984510688519e17, 0.004818279379429101,
                    17.171507999659141, 0.3764826288621923,   1.6939807077122703e-08};
  far.quartic_importance = {390155503.2797963,      250695876.0,
                            5.4555854959664061e-05, 0.0037088375420612591,
                            2.6675868309910146e-08, 63.089681793910088};
  check_against_brute_force<QuarticMoments>(sorted_points(far, true));
  Items tiny;
  tiny.weight = {11 * 5e-324, 13 * 5e-324, 16 * 5e-324, 24 * 5e-324, 1e-100};
  tiny.importance = {0.0, 0x1p-126, 0x1.fffffep127, 1.0, 0x1p-126};
  tiny.quartic_importance = {1.4729423877621247e-06, 0.38057927639314398, 7.0852878402340223e-05,
                             0.00029338462106464936, 0.022616540476076509};
  check_against_brute_force<QuarticMoments>(sorted_points(tiny, true));
}

TEST_CASE("the small search costs what the layers cost") {
  for_each_family(300, 112, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_against_layers<QuadraticMoments>(sorted_points(items, false));
    check_against_layers<QuarticMoments>(sorted_points(items, true));
  });
}

TEST_CASE("squeezed windows hold the boundaries of the optimum") {
  for_each_family(40, 115, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_squeezed_windows<QuadraticMoments>(sorted_points(items, false));
    check_squeezed_windows<QuarticMoments>(sorted_points(items, true));
  });
}

TEST_CASE("half-gaps over a few cells hold those of the optimum") {
  for_each_family(120, 116, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const std::size_t k : {std::size_t{2}, std::size_t{3}, std::size_t{5}, std::size_t{9}}) {
      CAPTURE(k);
      check_half_gaps<QuadraticMoments>(sorted_points(items, false), k);
      check_half_gaps<QuarticMoments>(sorted_points(items, true), k);
    }
  });
}

TEST_CASE("the small search closes on ordinary problems and costs what the layers cost") {
  Random random(114);
  for (const std::size_t n : {512, 1500}) {
    CAPTURE(n);
    for (int round = 0; round < 20; ++round) {
      CAPTURE(round);
      Items items;
      for (std::size_t i = 0; i < n; ++i) {
        items.weight.push_back(0.02 * random.normal());
        items.importance.push_back(std::exp(3.0 * random.normal() - 8.0));
        items.quartic_importance.push_back(std::exp(3.0 * random.normal() - 4.0));
      }
      check_closes<QuadraticMoments>(sorted_points(items, false));
      check_closes<QuarticMoments>(sorted_points(items, true));
    }
  }
}
