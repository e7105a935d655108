#include "cpu/descent/curve.h"

#include <doctest/doctest.h>

#include "cpu/intervals/format.h"
#include "cpu/layered/optimal_layers.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

Items heavy_tailed_items(std::size_t n) {
  Random random(21);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(0.02 * random.normal() / random.uniform(0.2, 1.0));
    items.importance.push_back(std::exp(3.0 * random.normal() - 8.0));
    items.quartic_importance.push_back(std::exp(3.0 * random.normal() - 4.0));
  }
  return items;
}

template <class Moments>
void check_curve(const Points& points, const Placement& placement, std::size_t k) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  const std::vector<double> curve = optimal_curve(points, pyramid, placement, k, Parallel(2));
  const std::vector<double> layers =
      optimal_layers(points, pyramid, placement, k, Want::costs, Parallel(2)).costs;
  REQUIRE(curve.size() == k);
  for (std::size_t j = 0; j < k; ++j) {
    CAPTURE(j);
    CHECK(curve[j] == doctest::Approx(layers[j]).epsilon(1e-10));
    if (j > 0) CHECK(curve[j] <= curve[j - 1]);
    if (j > 1) CHECK(curve[j - 1] - curve[j] <= (curve[j - 2] - curve[j - 1]) * (1 + 1e-9));
  }
  CHECK(optimal_curve(points, pyramid, placement, k, Parallel(1)) == curve);
}

}  // namespace

TEST_CASE("the curve of many points is that of the layers, convex and never rising") {
  const Items items = heavy_tailed_items(6000);
  for (const CentroidFormat format :
       {CentroidFormat::float64, CentroidFormat::bfloat16, CentroidFormat::int8}) {
    CAPTURE(static_cast<int>(format));
    const Points quadratic = sorted_points(items, false);
    check_curve<QuadraticMoments>(quadratic, placement_of(format, scale_of(format, quadratic)), 9);
    const Points quartic = sorted_points(items, true);
    check_curve<QuarticMoments>(quartic, placement_of(format, scale_of(format, quartic)), 9);
  }
}

TEST_CASE("a curve that falls by decades between neighbours keeps its small digits") {
  constexpr std::size_t kClumps = 7;
  Random random(5);
  Items items;
  for (std::size_t i = 0; i < 6000; ++i) {
    items.weight.push_back(100.0 * static_cast<double>(random.below(kClumps)) +
                           1e-6 * random.normal());
    items.importance.push_back(random.of_decades(-6, 0));
    items.quartic_importance.push_back(1.0);
  }
  check_curve<QuadraticMoments>(sorted_points(items, false), Placement(), 2 * kClumps);
  check_curve<QuarticMoments>(sorted_points(items, true), Placement(), 2 * kClumps);
}

TEST_CASE("descents side by side join to one curve") {
  const Items items = heavy_tailed_items(4500);
  check_curve<QuadraticMoments>(sorted_points(items, false), Placement(), 100);
  check_curve<QuarticMoments>(sorted_points(items, true), Placement(), 70);
}

TEST_CASE("evenly spaced weights, whose every shift costs the same, have the layers' curve") {
  Items items;
  for (std::size_t i = 0; i < 5000; ++i) {  // evenly spaced: every shift costs the same
    items.weight.push_back(static_cast<double>(i));
    items.importance.push_back(1.0);
    items.quartic_importance.push_back(1.0);
  }
  check_curve<QuadraticMoments>(sorted_points(items, false), Placement(), 4);
}
