#pragma once

#include <cstdint>

#include "cpu/base/isa.h"

namespace wkmeans {

// sums += factor * values, for `dispatch`.
struct AddScaled {
  static WKM_ALWAYS_INLINE void run(const double* values, double factor, std::int64_t n,
                                    double* sums) {
    for (std::int64_t i = 0; i < n; ++i) sums[i] += factor * values[i];
  }
};

}  // namespace wkmeans
