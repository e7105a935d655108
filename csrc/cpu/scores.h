#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cpu/isa.h"
#include "cpu/operand.h"

namespace wkmeans {

// Returns whether every score is finite.
struct ScoreKernel {
  static WKM_ALWAYS_INLINE bool run(const double* weight, const double* importance,
                                    const double* quartic_importance, std::int64_t count,
                                    double* score) {
    for (std::int64_t i = 0; i < count; ++i) score[i] = importance[i] * (weight[i] * weight[i]);
    if (quartic_importance) {
      for (std::int64_t i = 0; i < count; ++i) {
        const double square = weight[i] * weight[i];
        score[i] += quartic_importance[i] * (square * square);
      }
    }
    std::int64_t n_overflows = 0;
    for (std::int64_t i = 0; i < count; ++i) n_overflows += !(score[i] <= kLargestFinite);
    return n_overflows == 0;
  }
  static constexpr double kLargestFinite = std::numeric_limits<double>::max();
};

// Reads, checks and scores runs of items, reusing its memory. Runs of up to kRun items stay in
// cache.
class Scorer {
public:
  static constexpr std::int64_t kRun = 1024;

  const double* score(const Problems& problems, std::int64_t problem, std::int64_t begin,
                      std::int64_t count) {
    load_items(problems, problem, begin, count, items_);
    check_items(problems, items_);
    scores_.resize(static_cast<std::size_t>(count));
    const bool finite = dispatch<ScoreKernel>(
        items_.weight.data(), items_.importance.data(),
        problems.quartic() ? items_.quartic_importance.data() : nullptr, count, scores_.data());
    if (!finite) {
      throw std::overflow_error(
          "weights: I w^2 + H w^4 exceeds the range of float64; scale the weights or importances "
          "down");
    }
    return scores_.data();
  }

private:
  ItemBuffer items_;
  std::vector<double> scores_;
};

}  // namespace wkmeans
