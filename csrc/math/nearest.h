#pragma once

#include <cmath>

#include "math/platform.h"

namespace wkmeans {

// The largest double t that is at least as near to `low` as to `high` (low < high): weights up to t
// take the lower centroid. Exact: t <= (low + high) / 2 in real arithmetic, and no double lies
// between.
WKM_HD double split_point(double low, double high) {
  if (low == high) return low;
  // Both are far from denormal where their sum overflows, so scaling them is exact.
  const double scale = std::isinf(low + high) ? 0.25 : 1.0;
  const double a = low * scale;
  const double b = high * scale;
  const double sum = a + b;
  // TwoSum: `error` is exactly what rounding took from the sum.
  const double b_part = sum - a;
  const double error = (a - (sum - b_part)) + (b - b_part);
  double t = sum * 0.5;
  if (t * 2.0 > sum || (t * 2.0 == sum && error < 0.0)) {
    t = std::nextafter(t, -HUGE_VAL);
  }
  return t / scale;
}

}  // namespace wkmeans
