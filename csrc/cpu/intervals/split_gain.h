#pragma once

#include <cmath>

#include "math/moments.h"

namespace wkmeans {

// Sums of v_i and of v_i (w - mean)^2 over a cell for v_i = a I_i + b H_i.
inline SecondMoments blend(const QuadraticMoments& m, double a, double /*b*/) {
  return {a * m.quadratic.mass, m.quadratic.origin, m.quadratic.offset, a * m.quadratic.second};
}
inline SecondMoments blend(const QuarticMoments& m, double a, double b) {
  return merge(
      blend(QuadraticMoments{m.quadratic}, a, b),
      SecondMoments{b * m.quartic.mass, m.quartic.origin, m.quartic.offset, b * m.quartic.second});
}

// Two centroids at most 2 * half_gap apart with their boundary inside a cell: a weight t from it
// gains v_i t by its own centroid over the other, v_i = 4 d I_i + 8 d (t^2 + d^2) H_i.
template <class Moments>
SecondMoments weighted_gains(const Moments& cell, double width, double half_gap) {
  return blend(cell, 4.0 * half_gap, 8.0 * half_gap * (half_gap * half_gap + width * width));
}

// What splitting a cell between the two can gain over leaving it whole: the lighter side is given
// up. min(a, b) <= (a + b) / 2, then Cauchy-Schwarz.
template <class Moments>
double split_gain(const Moments& cell, double width, double half_gap) {
  const SecondMoments gains = weighted_gains(cell, width, half_gap);
  return 0.5 * std::sqrt(gains.mass) * std::sqrt(gains.second);
}

}  // namespace wkmeans
