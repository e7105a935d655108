#pragma once

#include "math/platform.h"

namespace wkmeans {

// Moments of a set of weights about its own weighted mean. Merging adds only positive terms to the
// even moments, so their relative error stays at a few ulps whatever the importances: differences
// of global prefix sums lose every digit on narrow clumps.
//
// The mean is held as `origin + offset`, `origin` being one of the weights. Differences of nearby
// origins are exact, so a clump 1e-12 wide around 1 keeps its digits too; the heavier side's origin
// survives a merge because the mean lies nearer to it.

struct SecondMoments {
  double mass = 0.0;    // sum I
  double origin = 0.0;
  double offset = 0.0;  // weighted mean - origin
  double second = 0.0;  // sum I (w - mean)^2
};

struct FourthMoments {
  double mass = 0.0;    // sum H
  double origin = 0.0;
  double offset = 0.0;
  double second = 0.0;  // sum H (w - mean)^2
  double third = 0.0;   // sum H (w - mean)^3
  double fourth = 0.0;  // sum H (w - mean)^4
};

template <class From, class To>
WKM_HD inline double mean_distance(const From& from, const To& to) {
  return (to.origin - from.origin) + (to.offset - from.offset);
}

WKM_HD inline SecondMoments merge(const SecondMoments& a, const SecondMoments& b) {
  const double mass = a.mass + b.mass;
  if (!(mass > 0.0)) return a;
  const SecondMoments& heavy = a.mass >= b.mass ? a : b;
  const SecondMoments& light = a.mass >= b.mass ? b : a;
  const double distance = mean_distance(heavy, light);
  const double light_share = light.mass / mass;
  SecondMoments m;
  m.mass = mass;
  m.origin = heavy.origin;
  m.offset = heavy.offset + distance * light_share;
  m.second = (a.second + b.second) + distance * distance * (heavy.mass * light_share);
  return m;
}

WKM_HD inline FourthMoments merge(const FourthMoments& a, const FourthMoments& b) {
  const double mass = a.mass + b.mass;
  if (!(mass > 0.0)) return a;
  const FourthMoments& heavy = a.mass >= b.mass ? a : b;
  const FourthMoments& light = a.mass >= b.mass ? b : a;
  const double distance = mean_distance(heavy, light);
  const double light_share = light.mass / mass;
  const double shift = distance * light_share;          // new mean - heavy mean
  const double rest = shift - distance;                 // new mean - light mean
  const double between = heavy.mass * light_share;      // heavy.mass * light.mass / mass
  const double shift2 = shift * shift;
  const double rest2 = rest * rest;
  FourthMoments m;
  m.mass = mass;
  m.origin = heavy.origin;
  m.offset = heavy.offset + shift;
  m.second = (a.second + b.second) + distance * distance * between;
  m.third = (heavy.third - 3.0 * shift * heavy.second) + (light.third - 3.0 * rest * light.second) -
            (heavy.mass * shift2 * shift + light.mass * rest2 * rest);
  m.fourth = (heavy.fourth + shift * (6.0 * shift * heavy.second - 4.0 * heavy.third)) +
             (light.fourth + rest * (6.0 * rest * light.second - 4.0 * light.third)) +
             (heavy.mass * (shift2 * shift2) + light.mass * (rest2 * rest2));
  return m;
}

// sum I (w - c)^2 alone.
struct QuadraticMoments {
  SecondMoments quadratic;

  WKM_HD static QuadraticMoments of(double weight, double importance, double /*quartic_importance*/) {
    return {{importance, weight, 0.0, 0.0}};
  }
  WKM_HD bool empty() const { return !(quadratic.mass > 0.0); }
};

// sum I (w - c)^2 + H (w - c)^4.
struct QuarticMoments {
  SecondMoments quadratic;
  FourthMoments quartic;

  WKM_HD static QuarticMoments of(double weight, double importance, double quartic_importance) {
    return {{importance, weight, 0.0, 0.0}, {quartic_importance, weight, 0.0, 0.0, 0.0, 0.0}};
  }
  WKM_HD bool empty() const { return !(quadratic.mass > 0.0) && !(quartic.mass > 0.0); }
};

WKM_HD inline QuadraticMoments merge(const QuadraticMoments& a, const QuadraticMoments& b) {
  return {merge(a.quadratic, b.quadratic)};
}

WKM_HD inline QuarticMoments merge(const QuarticMoments& a, const QuarticMoments& b) {
  return {merge(a.quadratic, b.quadratic), merge(a.quartic, b.quartic)};
}

}  // namespace wkmeans
