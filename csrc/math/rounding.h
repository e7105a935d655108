#pragma once

#include <cmath>
#include <cstddef>

#include "math/platform.h"

namespace wkmeans {

constexpr double kHalfUlp = 0x1p-53;

// What so many roundings one after another can move a sum by, relatively.
WKM_HD double relative_rounding(double count) {
  const double sum = count * kHalfUlp;
  return sum / (1.0 - sum);
}

// Reported figures hold as real numbers: lower_bound <= optimum <= cost. Each sum is moved past
// what its own rounding can have taken from it or added to it.
struct Rounding {
  double relative = 0.0;
  double absolute = 0.0;  // products too small for a double

  // Either moves further than its own rounding.
  WKM_HD double above(double sum) const {  // of non-negative terms
    return sum * (1.0 + (relative + 4.0 * kHalfUlp)) + absolute;
  }
  WKM_HD double below(double bound) const {
    const double less = bound * (1.0 - (relative + 4.0 * kHalfUlp)) - absolute;
    return less > 0.0 && bound < HUGE_VAL ? less : 0.0;
  }
};

// How far rounding may move a cost summed over n points, relatively: each adds a few ulps.
WKM_HD double rounding_slack(std::size_t n_points) {
  return 32.0 * static_cast<double>(n_points + 64) * kHalfUlp;
}

// Figures above this hide nothing of note.
constexpr double kUnderflowing = 1e-200;
// Each square may be short of, or beyond, the smallest double, and each product again: what that
// hides for an importance of one.
constexpr double kHiddenByUnderflow = 16.0 * 0x1p-1074;

}  // namespace wkmeans
