#include "math/centroid.h"

#include <doctest/doctest.h>

#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments>
Moments moments_of(const Points& points) {
  Moments sum{};
  for (std::size_t i = 0; i < points.size(); ++i) {
    sum = merge(sum, Moments::of(points.weight[i], points.importance[i],
                                 points.quartic() ? points.quartic_importance[i] : 0.0));
  }
  return sum;
}

// The sum of the derivative's terms without their signs: what its rounding is measured by.
Real derivative(const Points& points, const Position& centroid, bool absolute) {
  Real sum = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const Real d = centroid.distance_to(points.weight[i]);
    const Real term = points.importance[i] * d + 2 * quartic_importance_of(points, i) * d * d * d;
    sum += absolute ? std::fabs(term) : term;
  }
  return sum;
}

template <class Moments>
void check_centre(const Points& points) {
  const auto n = static_cast<double>(points.size());
  const double tolerance = 32.0 * kEpsilon * n;
  const Centre c = centre(moments_of<Moments>(points));
  const Position found{c.origin, c.offset};
  const Real optimum = direct_optimal_cost(points, 0, points.size());
  CHECK(close(c.cost, direct_cost(points, 0, points.size(), found), tolerance * optimum));
  CHECK(close(c.cost, optimum, tolerance * optimum));
  CHECK(std::fabs(derivative(points, found, false)) <= tolerance * derivative(points, found, true));
  CHECK(c.value() == c.origin + c.offset);
  CHECK(clamp_between(c.value(), points.weight.front(), points.weight.back()) ==
        doctest::Approx(c.value()).epsilon(1e-15));
}

}  // namespace

TEST_CASE("the centre is the minimiser that bisection in long double finds") {
  for (const std::size_t n : {1u, 2u, 3u, 8u, 50u}) {
    for_each_family(n, 100 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      check_centre<QuadraticMoments>(sorted_points(items, false));
      check_centre<QuarticMoments>(sorted_points(items, true));
    });
  }
}

TEST_CASE("the centre stands where only one of the importances does") {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    CAPTURE(round);
    Items items;
    for (std::size_t i = 0, n = 2 + random.below(20); i < n; ++i) {
      items.weight.push_back(random.normal());
      items.importance.push_back(0.0);
      items.quartic_importance.push_back(random.of_decades(-10, 10));
    }
    check_centre<QuarticMoments>(sorted_points(items, true));
    std::swap(items.importance, items.quartic_importance);
    const Points points = sorted_points(items, true);
    check_centre<QuarticMoments>(points);
    CHECK(centre(moments_of<QuarticMoments>(points)).value() ==
          centre(moments_of<QuadraticMoments>(points)).value());
  }
}

TEST_CASE("cost_about sums the distances to any centroid") {
  for_each_family(20, 5, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const bool quartic : {false, true}) {
      const Points points = sorted_points(items, quartic);
      for (const double share : {-0.5, 0.0, 0.3, 1.0, 2.0}) {
        CAPTURE(share);
        const double centroid =
            points.weight.front() + share * (points.weight.back() - points.weight.front());
        const Real direct = direct_cost(points, 0, points.size(), {centroid, 0});
        const double cost = quartic ? cost_about(moments_of<QuarticMoments>(points), centroid)
                                    : cost_about(moments_of<QuadraticMoments>(points), centroid);
        CHECK(close(cost, direct, 1e-12 * direct));
      }
    }
  });
}

TEST_CASE("the cubic's root is that of bisection, over all the decades that a double has") {
  Random random(7);
  for (int round = 0; round < 20000; ++round) {
    const double mass = random.below(8) ? random.of_decades(-150, 150) : 0.0;
    const double slope = mass > 0.0 && random.below(8) == 0 ? 0.0 : random.of_decades(-150, 150);
    const double target = random.of_decades(-150, 150) * (random.below(2) ? 1.0 : -1.0);
    CAPTURE(mass);
    CAPTURE(slope);
    CAPTURE(target);
    const double root = monotone_cubic_root(mass, slope, target);
    const Real goal = std::fabs(static_cast<Real>(target));
    const Real reference = bisect(
        [&](Real exponent) {
          const Real x = std::exp2(exponent);
          return mass * x * x * x + slope * x - goal;
        },
        -1100, 1100);
    CHECK(close(root * (target < 0.0 ? -1.0 : 1.0), std::exp2(reference),
                1e-15 * std::exp2(reference)));
  }
}

TEST_CASE("the cubic's root of zero is zero") {
  CHECK(monotone_cubic_root(1.0, 0.0, 0.0) == 0.0);
  CHECK(monotone_cubic_root(0.0, 1.0, 0.0) == 0.0);
}
