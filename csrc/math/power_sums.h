#pragma once

#include "math/moments.h"
#include "math/platform.h"

namespace wkmeans {

// Moments about the mean from sums of d^0, d^1, ... about an origin. None of them is negative but
// the third, whatever rounding says.
WKM_HD SecondMoments second_moments(const double* s, double origin) {
  if (!(s[0] > 0.0)) return {0.0, origin, 0.0, 0.0};
  const double mean = s[1] / s[0];
  const double second = s[2] - s[1] * mean;
  return {s[0], origin, mean, second > 0.0 ? second : 0.0};
}
WKM_HD FourthMoments fourth_moments(const double* s, double origin) {
  const SecondMoments m = second_moments(s, origin);
  const double x = m.offset;
  const double third = s[3] - x * (3.0 * s[2] - x * (3.0 * s[1] - x * s[0]));
  const double fourth = s[4] - x * (4.0 * s[3] - x * (6.0 * s[2] - x * (4.0 * s[1] - x * s[0])));
  return {m.mass, m.origin, x, m.second, third, fourth > 0.0 ? fourth : 0.0};
}

// Sums over weights of I d^p and H d^p, d = w - origin, for an origin that all of them share: a
// codeword's centroid. Where the origin lies among the weights nothing cancels below; where it does
// not, the centroid that follows is off by ulps of its distance from the origin, no more.
struct PowerSums {
  double importance[3] = {};
  double quartic_importance[5] = {};

  WKM_HD void add(double distance, double i) {
    const double first = i * distance;
    importance[0] += i;
    importance[1] += first;
    importance[2] += first * distance;
  }

  WKM_HD void add(double distance, double i, double h) {
    add(distance, i);
    const double square = distance * distance;
    const double second = h * square;
    quartic_importance[0] += h;
    quartic_importance[1] += h * distance;
    quartic_importance[2] += second;
    quartic_importance[3] += second * distance;
    quartic_importance[4] += second * square;
  }

  WKM_HD void add(const PowerSums& other) {
    for (int p = 0; p < 3; ++p) importance[p] += other.importance[p];
    for (int p = 0; p < 5; ++p) quartic_importance[p] += other.quartic_importance[p];
  }

  // sum I d^2 + H d^4: what the weights cost about the origin.
  WKM_HD double cost() const { return importance[2] + quartic_importance[4]; }

  WKM_HD QuarticMoments about_the_means(double origin) const {
    return {second_moments(importance, origin), fourth_moments(quartic_importance, origin)};
  }
};

}  // namespace wkmeans
