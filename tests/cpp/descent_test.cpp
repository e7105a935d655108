#include "cpu/descent/descent.h"

#include <doctest/doctest.h>

#include <limits>

#include "cpu/cluster/optimal.h"
#include "cpu/descent/curve.h"
#include "cpu/intervals/format.h"
#include "cpu/layered/optimal_layers.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr double kPlenty = std::numeric_limits<double>::infinity();

// From the optimum with k clusters down to one.
template <class Moments>
void check_descent(const Points& points, const Placement& placement, std::size_t k) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  const std::vector<double> layers =
      optimal_layers(points, pyramid, placement, k, Want::costs, Parallel(1)).costs;
  Descent<Moments> descent(points, pyramid, placement,
                           optimal(points, pyramid, placement, k, Parallel(1)));
  for (std::size_t m = k - 1; m > 0; --m) {
    CAPTURE(m);
    REQUIRE(descent.step(kPlenty));
    CHECK(descent.cost() == doctest::Approx(layers[m - 1]).epsilon(1e-9));
  }
}

void check_both(const Items& items, Zero zero, CentroidFormat format, std::size_t most) {
  Points quadratic = sorted_points(items, false);
  Points quartic = sorted_points(items, true);
  if (zero == Zero::pinned) {
    pin_zero(quadratic);
    pin_zero(quartic);
  }
  check_descent<QuadraticMoments>(quadratic, placement_of(format, scale_of(format, quadratic)),
                                  std::min(most, quadratic.size() - 1));
  check_descent<QuarticMoments>(quartic, placement_of(format, scale_of(format, quartic)),
                                std::min(most, quartic.size() - 1));
}

Items plain_items(std::size_t n, double (*weight)(Random&, std::size_t)) {
  Random random(17);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(weight(random, i));
    items.importance.push_back(1.0);
    items.quartic_importance.push_back(1.0);
  }
  return items;
}

}  // namespace

TEST_CASE("a descent passes the optimum of every number of clusters") {
  for_each_family(60, 3, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_both(items, Zero::free, CentroidFormat::float64, 59);
    check_both(items, Zero::pinned, CentroidFormat::float64, 40);
  });
}

TEST_CASE("a descent passes the optima among the values of a format") {
  for_each_family(40, 4, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_both(items, Zero::free, CentroidFormat::bfloat16, 30);
    check_both(items, Zero::free, CentroidFormat::int8, 30);
  });
}

TEST_CASE("a descent cuts groups of many points no more finely than it must") {
  const Items normal =
      plain_items(3000, [](Random& random, std::size_t) { return random.normal(); });
  check_both(normal, Zero::free, CentroidFormat::float64, 24);
  // Evenly spaced: every shift costs the same.
  const Items even =
      plain_items(1000, [](Random&, std::size_t i) { return static_cast<double>(i); });
  check_both(even, Zero::free, CentroidFormat::float64, 24);
}

TEST_CASE("a descent stops where its work is spent") {
  const Items items =
      plain_items(3000, [](Random& random, std::size_t) { return random.normal(); });
  const Points points = sorted_points(items, false);
  Pyramid<QuadraticMoments> pyramid;
  pyramid.build(points, Parallel(1));
  const Optimum optimum = optimal(points, pyramid, Placement(), 9, Parallel(1));
  CHECK_FALSE(Descent<QuadraticMoments>(points, pyramid, Placement(), optimum).step(1.0));
}

TEST_CASE("nothing is descended where costs are beyond what a double holds") {
  const Items items =
      plain_items(300, [](Random& random, std::size_t) { return 1e200 * random.normal(); });
  const Points points = sorted_points(items, false);
  Pyramid<QuadraticMoments> pyramid;
  pyramid.build(points, Parallel(1));
  CHECK_FALSE(descended_curve(points, pyramid, Placement(), 4, Parallel(2)));
}
