#pragma once

#include <cmath>

#include "math/platform.h"

namespace wkmeans {

// Kahan's sum: of terms of one sign it is off by two roundings, however many there are.
struct CompensatedSum {
  double sum = 0.0;
  double surplus = 0.0;  // what rounding has added to `sum`

  WKM_HD void add(double term) {
    const double owed = term - surplus;
    const double next = sum + owed;
    surplus = (next - sum) - owed;
    sum = next;
  }
  WKM_HD void add(const CompensatedSum& other) {
    add(other.sum);
    add(-other.surplus);
  }

  // Of terms of which none is negative. Beyond what a double holds, what is owed is no number.
  WKM_HD double total() const { return sum == sum ? sum : HUGE_VAL; }
};

}  // namespace wkmeans
