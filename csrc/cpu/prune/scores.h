#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cpu/base/isa.h"
#include "cpu/base/items.h"
#include "math/item_cost.h"

namespace wkmeans {

// Returns whether every value is one the objective can take: what is not finite shows in the score,
// and what is negative is looked for beside it, in the one pass that the scores need anyway.
struct ScoreKernel {
  static WKM_ALWAYS_INLINE bool run(const double* weight, const double* importance,
                                    const double* quartic_importance, std::int64_t count,
                                    double* score) {
    std::int64_t n_bad = 0;
    if (quartic_importance) {
      for (std::int64_t i = 0; i < count; ++i) {
        const double sum = item_cost(weight[i], importance[i], quartic_importance[i]);
        score[i] = sum;
        n_bad +=
            !(sum <= kLargestFinite) | !(importance[i] >= 0.0) | !(quartic_importance[i] >= 0.0);
      }
    } else {
      for (std::int64_t i = 0; i < count; ++i) {
        const double product = item_cost(weight[i], importance[i]);
        score[i] = product;
        n_bad += !(product <= kLargestFinite) | !(importance[i] >= 0.0);
      }
    }
    return n_bad == 0;
  }
  static constexpr double kLargestFinite = std::numeric_limits<double>::max();
};

// Reads, checks and scores runs of items, reusing its memory. Runs of up to kRun items stay in
// cache. Throws InvalidValue, or std::overflow_error for a sound item whose score a double cannot
// hold; the Python layer says which.
class Scorer {
public:
  static constexpr std::int64_t kRun = 1024;

  const double* score(const Problems& problems, std::int64_t problem, std::int64_t begin,
                      std::int64_t count) {
    const ItemRun<double> items = reader_.read(problems, problem, begin, count);
    scores_.resize(static_cast<std::size_t>(count));
    const bool valid = dispatch<ScoreKernel>(items.weight, items.importance,
                                             items.quartic_importance, count, scores_.data());
    if (!valid) {
      check_items(problems, items);
      score_with_infinite_powers(items);
    }
    return scores_.data();
  }

private:
  // No score, where an importance of zero met a power beyond a double.
  void score_with_infinite_powers(const ItemRun<double>& items) {
    for (std::int64_t i = 0; i < items.count; ++i) {
      const double quartic = items.quartic_importance ? items.quartic_importance[i] : 0.0;
      const double score = safe_item_cost(items.weight[i], items.importance[i], quartic);
      if (!(score <= ScoreKernel::kLargestFinite)) throw std::overflow_error("weights");
      scores_[static_cast<std::size_t>(i)] = score;
    }
  }

  ItemReader<double> reader_;
  std::vector<double> scores_;
};

}  // namespace wkmeans
