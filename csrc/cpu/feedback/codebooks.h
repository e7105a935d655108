#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/base/isa.h"

namespace wkmeans {

using MatrixLabel = std::uint16_t;  // of up to 65536 centroids

// Ascending centroids: one codebook for all rows, or one for each.
struct Codebooks {
  const double* values;  // (1 or rows, k)
  std::int64_t k;
  bool is_shared;

  const double* of_row(std::int64_t row) const { return values + (is_shared ? 0 : row * k); }
};

// Nearest centroids of one codebook, the lower in a tie: midpoints between neighbours, searched in
// steps of halves, without a branch that depends on the value.
class NearestCentroid {
public:
  void set(const double* centroids, std::int64_t k) {
    if (centroids == centroids_) return;
    centroids_ = centroids;
    half_ = 1;
    while (2 * half_ < k) half_ *= 2;
    midpoints_.assign(static_cast<std::size_t>(2 * half_), std::numeric_limits<double>::infinity());
    for (std::int64_t j = 0; j + 1 < k; ++j) {
      midpoints_[static_cast<std::size_t>(j)] = centroids[j] * 0.5 + centroids[j + 1] * 0.5;
    }
  }

  WKM_ALWAYS_INLINE MatrixLabel label(double value) const {
    const double* from = midpoints_.data();
    // A mask, not a choice: compilers make branches of choices, and half of them would be mistaken.
    for (std::int64_t step = half_; step > 0; step /= 2) {
      from += step & -static_cast<std::int64_t>(value > from[step - 1]);
    }
    return static_cast<MatrixLabel>(from - midpoints_.data());
  }

  WKM_ALWAYS_INLINE double centroid(MatrixLabel label) const { return centroids_[label]; }

private:
  const double* centroids_ = nullptr;
  std::int64_t half_ = 1;
  std::vector<double> midpoints_;
};

}  // namespace wkmeans
