#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "cpu/base/buffer.h"
#include "cpu/base/isa.h"
#include "cpu/lattice/viterbi.h"
#include "math/trellis.h"

namespace wkmeans {

// What one column's rows are to reach, for `Viterbi`.
struct TargetColumn {
  const double* weights;  // (rows)
  const double* added;    // by the errors of columns before
  const double* row_steps;
  double column_step;

  double step(std::int64_t row) const { return row_steps[row] * column_step; }
};

// Rows that do not matter together: all paths have the same target.
class FreeTargets {
public:
  explicit FreeTargets(const TargetColumn& column) : column_(column) {}

  WKM_ALWAYS_INLINE void begin(std::int64_t row) {
    const double unit = (column_.weights[row] + column_.added[row]) / column_.step(row);
    for (int remainder = 0; remainder < 4; ++remainder) nearest_[remainder] = {unit, remainder};
  }
  WKM_ALWAYS_INLINE const Nearest& nearest(int state, int second) const {
    return nearest_[trellis_parity(state) + 2 * second];
  }
  WKM_ALWAYS_INLINE void extend(const std::array<std::uint8_t, kTrellisStates>&,
                                const std::array<double, kTrellisStates>&,
                                std::array<double, kTrellisStates>&) {}

private:
  const TargetColumn& column_;
  std::array<Nearest, 4> nearest_{};
};

// Rows whose errors add to the targets of rows after them. Each path has errors of its own, of
// which it knows the last few; before those all paths are one: those that are not the best one's
// end.
class CoupledTargets {
public:
  // coefficients: (n_rows, n_rows), of which a row's are those of the rows before it.
  CoupledTargets(const TargetColumn& column, const double* coefficients, std::int64_t n_rows,
                 Buffer<double>& decided)
      : column_(column), coefficients_(coefficients), n_rows_(n_rows), decided_(decided.data()) {
    for (auto& errors : errors_) errors.fill(0.0);
  }

  void begin(std::int64_t row) {
    row_ = row;
    const double* const by = coefficients_ + row * n_rows_;
    const std::int64_t first = std::max<std::int64_t>(0, row - kKnown);
    double common = column_.weights[row] + column_.added[row];
    for (std::int64_t i = 0; i < first; ++i) common += by[i] * decided_[i];
    for (int state = 0; state < kTrellisStates; ++state) {
      double target = common;
      for (std::int64_t i = first; i < row; ++i) target += by[i] * errors_[state][i % kKnown];
      units_[state] = target / column_.step(row);
    }
  }

  Nearest nearest(int state, int second) const {
    return {units_[state], trellis_parity(state) + 2 * second};
  }

  void extend(const std::array<std::uint8_t, kTrellisStates>& from,
              const std::array<double, kTrellisStates>& integers,
              std::array<double, kTrellisStates>& costs) {
    const Errors before = errors_;
    const std::int64_t place = row_ % kKnown;
    const auto best = std::min_element(costs.begin(), costs.end()) - costs.begin();
    const double oldest = before[from[best]][place];
    if (row_ >= kKnown) decided_[row_ - kKnown] = oldest;
    for (int state = 0; state < kTrellisStates; ++state) {
      errors_[state] = before[from[state]];
      // Different integers leave different errors.
      if (row_ >= kKnown && errors_[state][place] != oldest) {
        costs[state] = std::numeric_limits<double>::infinity();
      }
      errors_[state][place] = column_.weights[row_] - column_.step(row_) * integers[state];
    }
  }

private:
  static constexpr std::int64_t kKnown = 64;  // rows; of 32, costs are a hundredth higher
  using Errors = std::array<std::array<double, kKnown>, kTrellisStates>;

  const TargetColumn& column_;
  const double* coefficients_;
  std::int64_t n_rows_;
  double* decided_;
  std::int64_t row_ = 0;
  Errors errors_;
  std::array<double, kTrellisStates> units_{};
};

}  // namespace wkmeans
