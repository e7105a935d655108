#include "cpu/lagrangian/half_gaps.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

using Real = long double;

// The best of the bounds that any run of cells around cell v gives, summed in extended precision.
Real tightest_half_gap(const Points& points, const Grid<QuarticMoments>& grid, std::size_t v,
                       Real worth) {
  Real tightest = std::numeric_limits<Real>::infinity();
  const Real low = points.low(grid.borders[v]);
  const Real high = points.high(grid.borders[v + 1] - 1);
  for (std::size_t begin = 0; begin <= v; ++begin) {
    Real importance = 0;
    Real quartic_importance = 0;
    for (std::size_t i = grid.borders[begin]; i < grid.borders[v]; ++i) {
      importance += points.importance[i];
      quartic_importance += points.quartic_importance[i];
    }
    for (std::size_t end = v + 1; end <= grid.size(); ++end) {
      for (std::size_t i = grid.borders[end - 1]; i < grid.borders[end]; ++i) {
        importance += points.importance[i];
        quartic_importance += points.quartic_importance[i];
      }
      const Real radius = std::max(high - points.low(grid.borders[begin]),
                                   points.high(grid.borders[end] - 1) - low);
      // d (d - 2 r) (A_I + A_H d^2 / 2) <= worth, by either term alone.
      const Real quadratic = radius + std::sqrt(radius * radius + worth / importance);
      const Real quartic = 2 * radius + std::sqrt(std::sqrt(2 * worth / quartic_importance));
      tightest = std::min(tightest, std::min(quadratic, quartic));
    }
  }
  return tightest;
}

Grid<QuarticMoments> grid_of_threes(const Points& points) {
  Pyramid<QuarticMoments> pyramid;
  pyramid.build(points, Parallel(1));
  Grid<QuarticMoments> grid;
  grid.borders.push_back(0);
  while (grid.borders.back() < points.size()) {
    const std::size_t begin = grid.borders.back();
    grid.borders.push_back(std::min(points.size(), begin + 3));
    grid.cells.push_back(pyramid.range(begin, grid.borders.back()));
  }
  grid.open.assign(grid.size(), true);
  grid.half_gaps.assign(grid.size(), std::numeric_limits<double>::infinity());
  return grid;
}

void check_never_closer(const Points& points) {
  for (const double worth : {1e-20, 1.0, 1e20}) {
    Grid<QuarticMoments> grid = grid_of_threes(points);
    bound_half_gaps(points, Placement(), worth, Parallel(1), grid);
    for (std::size_t v = 0; v < grid.size(); ++v) {
      CAPTURE(v);
      CAPTURE(worth);
      const Real tightest = tightest_half_gap(points, grid, v, worth);
      CHECK(static_cast<Real>(grid.half_gaps[v]) >= tightest * (1 - 1e-9L));
    }
  }
}

}  // namespace

TEST_CASE("half-gaps are never bounded closer than some run of cells allows") {
  for_each_family(60, 70, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    Points points = sorted_points(items, true);
    check_never_closer(points);
    pin_zero(points);
    check_never_closer(points);
  });
}

TEST_CASE("light cells are not taken for what the sums before them round to") {
  Points points;
  const auto add = [&](double weight, double importance) {
    points.weight.push_back(weight);
    points.importance.push_back(importance);
    points.quartic_importance.push_back(1e-30);
  };
  for (int i = 0; i < 10; ++i) add(0.1 * i - 1.0, 1e20);
  add(0.0, 1e82);  // leaves 1e21 in the lower of two doubles, and 131072 as its last digit
  for (int i = 0; i < 60; ++i) add(1.0 + 0.01 * i, 0.75 * 131072);
  check_never_closer(points);
}

TEST_CASE("half-gaps are bounded about as closely as any run of cells allows") {
  Random random(71);
  Items items;
  for (std::size_t i = 0; i < 2000; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.uniform(0.5, 1.5));
    items.quartic_importance.push_back(random.uniform(0.5, 1.5));
  }
  const Points points = sorted_points(items, true);
  Pyramid<QuarticMoments> pyramid;
  pyramid.build(points, Parallel(1));
  Grid<QuarticMoments> grid = measured_grid(points, pyramid, 60, Parallel(1));
  bound_half_gaps(points, Placement(), 1.0, Parallel(1), grid);
  for (std::size_t v = 0; v < grid.size(); ++v) {
    if (!grid.open[v]) continue;
    CAPTURE(v);
    CHECK(static_cast<Real>(grid.half_gaps[v]) <= 1.5L * tightest_half_gap(points, grid, v, 1.0L));
  }
}
