#pragma once

#include <cmath>
#include <limits>

#include "math/platform.h"

namespace wkmeans {

// What rounded importances can come to in any scaled cost: each moved by no more than the least
// double, and no optimum has a centroid twice as far from zero as all weights. Rounded weights come
// to less than the last digits: others lie a thousand binades further out.
WKM_HD double lost_in_scaling(double n_items, double largest_weight, bool quartic) {
  constexpr double kLeast = std::numeric_limits<double>::denorm_min();
  const double square = (4.0 * largest_weight) * (4.0 * largest_weight);
  return kLeast * n_items * (quartic ? square + square * square : square);
}

// Figures of a problem whose costs were multiplied by 2^exponent, for the problem as it came.
struct ScaledFigures {
  int exponent = 0;
  double lost = 0.0;  // at most, of a scaled cost, beside its last digits

  // Whether a scaled cost is so small that more may have been lost in scaling.
  WKM_HD bool may_be_lost(double cost) const { return kDigits * cost < lost; }

  // Rounded up, to infinity where the cost truly is beyond a double.
  WKM_HD double unscaled_cost(double cost) const {
    const double covered = lost > 0.0 ? cost * (1.0 + kDigits) : cost;
    const double unscaled = std::ldexp(covered, -exponent);
    const bool fell_short = std::ldexp(unscaled, exponent) < covered;  // among the denormal
    return fell_short ? unscaled + std::numeric_limits<double>::denorm_min() : unscaled;
  }

  // Less what was lost, and rounded down.
  WKM_HD double unscaled_bound(double bound) const {
    const double kept = lost > 0.0 ? bound * (1.0 - kDigits) - lost : bound;
    if (!(kept > 0.0)) return 0.0;
    const double unscaled = std::ldexp(kept, -exponent);
    if (std::isinf(unscaled)) return std::numeric_limits<double>::max();
    const bool is_beyond = std::ldexp(unscaled, exponent) > kept;
    return is_beyond ? unscaled - std::numeric_limits<double>::denorm_min() : unscaled;
  }

private:
  // More than what the last steps' own rounding and rounded weights come to, relatively.
  static constexpr double kDigits = 0x1p-50;
};

}  // namespace wkmeans
