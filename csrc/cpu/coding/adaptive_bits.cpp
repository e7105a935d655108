#include "cpu/coding/adaptive_bits.h"

#include <algorithm>
#include <cmath>

namespace wkmeans {

// Of whole numbers' functions none is within 1e-7 of a tie: any exp and log will do.
LogitTables::LogitTables() {
  for (int logit = -kLogitLimit; logit <= kLogitLimit; ++logit) {
    const long nearest = std::lround(4096 / (1 + std::exp(-logit / 256.0)));
    probabilities_[static_cast<std::size_t>(std::int64_t{logit} + kLogitLimit)] =
        static_cast<std::int16_t>(std::clamp(nearest, 1L, 4095L));
  }
  logits_[0] = -kLogitLimit;
  for (int p = 1; p < 4096; ++p) {
    const long nearest = std::lround(256 * std::log(p / (4096.0 - p)));
    logits_[static_cast<std::size_t>(p)] =
        static_cast<std::int16_t>(std::clamp<long>(nearest, -kLogitLimit, kLogitLimit));
  }
}

const LogitTables& logit_tables() {
  static const LogitTables known;
  return known;
}

}  // namespace wkmeans
