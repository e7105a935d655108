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
  double mass = 0.0;  // sum I
  double origin = 0.0;
  double offset = 0.0;  // weighted mean - origin
  double second = 0.0;  // sum I (w - mean)^2
};

struct FourthMoments {
  double mass = 0.0;  // sum H
  double origin = 0.0;
  double offset = 0.0;
  double second = 0.0;  // sum H (w - mean)^2
  double third = 0.0;   // sum H (w - mean)^3
  double fourth = 0.0;  // sum H (w - mean)^4
};

template <class From, class To>
WKM_HD double mean_distance(const From& from, const To& to) {
  return (to.origin - from.origin) + (to.offset - from.offset);
}

// Where two sets' common mean lies. Selections instead of branches, so that loops vectorise.
struct CommonMean {
  double mass, origin, offset;
  double from_a, from_b;  // common mean - mean of a, of b
  double between;         // sum of squares about the common mean beyond those about the own means
};

template <class Part>
WKM_HD CommonMean common_mean(const Part& a, const Part& b) {
  const bool a_is_heavier = a.mass >= b.mass;
  const double heavy = a_is_heavier ? a.mass : b.mass;
  const double light = a_is_heavier ? b.mass : a.mass;
  const double mass = heavy + light;
  const double light_share = light / (mass > 0.0 ? mass : 1.0);
  const double distance = mean_distance(a, b);
  const double shift = distance * light_share;  // at most half the distance: nothing cancels below
  CommonMean m;
  m.mass = mass;
  m.from_a = a_is_heavier ? shift : distance - shift;
  m.from_b = a_is_heavier ? shift - distance : -shift;
  m.origin = a_is_heavier ? a.origin : b.origin;
  m.offset = a_is_heavier ? a.offset + shift : b.offset - shift;
  m.between = distance * (distance * (heavy * light_share));
  return m;
}

WKM_HD SecondMoments merge(const SecondMoments& a, const SecondMoments& b) {
  const CommonMean m = common_mean(a, b);
  return {m.mass, m.origin, m.offset, (a.second + b.second) + m.between};
}

WKM_HD FourthMoments merge(const FourthMoments& a, const FourthMoments& b) {
  const CommonMean m = common_mean(a, b);
  // Masses come first: squares of distances underflow where their products with these do not.
  const double first_a = a.mass * m.from_a;
  const double first_b = b.mass * m.from_b;
  const double third_a = first_a * m.from_a * m.from_a;
  const double third_b = first_b * m.from_b * m.from_b;
  const double third = (a.third - 3.0 * m.from_a * a.second) +
                       (b.third - 3.0 * m.from_b * b.second) - (third_a + third_b);
  const double fourth = (a.fourth + m.from_a * (6.0 * m.from_a * a.second - 4.0 * a.third)) +
                        (b.fourth + m.from_b * (6.0 * m.from_b * b.second - 4.0 * b.third)) +
                        (third_a * m.from_a + third_b * m.from_b);
  return {m.mass, m.origin, m.offset, (a.second + b.second) + m.between, third, fourth};
}

struct QuarticMoments;

// sum I (w - c)^2 alone.
struct QuadraticMoments {
  static constexpr bool kQuartic = false;
  SecondMoments quadratic;

  WKM_HD static QuadraticMoments of(double weight, double importance,
                                    double /*quartic_importance*/) {
    return {{importance, weight, 0.0, 0.0}};
  }
  WKM_HD static QuadraticMoments part_of(const QuarticMoments& moments);
  WKM_HD bool empty() const { return !(quadratic.mass > 0.0); }
};

// sum I (w - c)^2 + H (w - c)^4.
struct QuarticMoments {
  static constexpr bool kQuartic = true;
  SecondMoments quadratic;
  FourthMoments quartic;

  WKM_HD static QuarticMoments of(double weight, double importance, double quartic_importance) {
    return {{importance, weight, 0.0, 0.0}, {quartic_importance, weight, 0.0, 0.0, 0.0, 0.0}};
  }
  WKM_HD static QuarticMoments part_of(const QuarticMoments& moments) { return moments; }
  WKM_HD bool empty() const { return !(quadratic.mass > 0.0) && !(quartic.mass > 0.0); }
};

WKM_HD QuadraticMoments QuadraticMoments::part_of(const QuarticMoments& moments) {
  return {moments.quadratic};
}

WKM_HD QuadraticMoments merge(const QuadraticMoments& a, const QuadraticMoments& b) {
  return {merge(a.quadratic, b.quadratic)};
}

WKM_HD QuarticMoments merge(const QuarticMoments& a, const QuarticMoments& b) {
  return {merge(a.quadratic, b.quadratic), merge(a.quartic, b.quartic)};
}

}  // namespace wkmeans
