#pragma once

#include <cmath>

#include "math/moments.h"
#include "math/platform.h"

namespace wkmeans {

// The minimiser of a cluster's cost and the cost there. The centroid is `origin + offset`, so that
// its distance to a narrow clump survives; `value()` rounds it to one double.
struct Centre {
  double origin = 0.0;
  double offset = 0.0;
  double cost = 0.0;

  WKM_HD double value() const { return origin + offset; }
};

WKM_HD Centre centre(const QuadraticMoments& m) {
  return {m.quadratic.origin, m.quadratic.offset, m.quadratic.second};
}

// sum H (w - mean - x)^4. |third| <= sqrt(second * fourth) bounds the alternating term by the
// others: the sum is at least a third of `fourth`, so it never cancels.
WKM_HD double fourth_power_cost(const FourthMoments& h, double x) {
  return h.fourth + x * (x * (6.0 * h.second + x * x * h.mass) - 4.0 * h.third);
}

// A quotient that vanishes has a cube root that does not.
WKM_HD double cube_root_of_quotient(double above, double below) {
  constexpr double kSmallestNormal = 0x1p-1022;
  const double quotient = above / below;
  if (quotient >= kSmallestNormal) return std::cbrt(quotient);
  return std::cbrt(above) / std::cbrt(below);
}

// Root of mass x^3 + slope x = target with mass >= 0, slope >= 0, not both zero: Algorithm 2's
// cubic, depressed by centring on the H-mean. Monotone, so there is one real root, and Newton from
// above on the convex side converges without leaving it.
WKM_HD double monotone_cubic_root(double mass, double slope, double target) {
  if (target == 0.0) return 0.0;
  const double goal = std::fabs(target);
  const double linear = slope > 0.0 ? goal / slope : INFINITY;
  const double cubic = mass > 0.0 ? cube_root_of_quotient(goal, mass) : INFINITY;
  double x = linear < cubic ? linear : cubic;  // both bound the root from above
  for (int step = 0; step < 6; ++step) {
    const double square = x * x;
    const double next = x - (x * (mass * square + slope) - goal) / (3.0 * mass * square + slope);
    if (!(next < x)) break;  // descends until rounding stops it
    x = next;
  }
  return target < 0.0 ? -x : x;
}

// With x = c - (H-mean) and gap = (I-mean) - (H-mean), the cost is
//   S + M (x - gap)^2 + sum H (w - H-mean - x)^4,
// stationary where mass x^3 + (3 second + M/2) x = third + (M/2) gap.
WKM_HD Centre centre(const QuarticMoments& m) {
  const SecondMoments& i = m.quadratic;
  const FourthMoments& h = m.quartic;
  if (!(h.mass > 0.0)) return {i.origin, i.offset, i.second};
  if (!(i.mass > 0.0)) {
    const double x = monotone_cubic_root(h.mass, 3.0 * h.second, h.third);
    return {h.origin, h.offset + x, fourth_power_cost(h, x)};
  }
  const double gap = mean_distance(h, i);
  const double pull = 0.5 * i.mass;
  double x = monotone_cubic_root(h.mass, 3.0 * h.second + pull, h.third + pull * gap);
  double y = x - gap;
  const double stiffness = 3.0 * (h.second + h.mass * x * x);
  if (pull <= stiffness)
    return {h.origin, h.offset + x, i.second + i.mass * y * y + fourth_power_cost(h, x)};
  // I dominates: y = x - gap cancels although mass * y^2 counts, so polish y itself.
  for (int step = 0; step < 2; ++step) {
    const double force = x * (h.mass * x * x + 3.0 * h.second) - h.third;
    y -= (pull * y + force) / (pull + 3.0 * (h.second + h.mass * x * x));
    x = gap + y;
  }
  return {i.origin, i.offset + y, i.second + i.mass * y * y + fourth_power_cost(h, x)};
}

// The cost about a given centroid.
WKM_HD double cost_about(const SecondMoments& i, double centroid) {
  const double distance = (centroid - i.origin) - i.offset;
  return i.second + i.mass * distance * distance;
}
WKM_HD double cost_about(const QuadraticMoments& m, double centroid) {
  return cost_about(m.quadratic, centroid);
}
WKM_HD double cost_about(const QuarticMoments& m, double centroid) {
  return cost_about(m.quadratic, centroid) +
         fourth_power_cost(m.quartic, (centroid - m.quartic.origin) - m.quartic.offset);
}

// A centroid of a set of weights lies between them; rounding may push it out by an ulp.
WKM_HD double clamp_between(double value, double low, double high) {
  return value < low ? low : (value > high ? high : value);
}

}  // namespace wkmeans
