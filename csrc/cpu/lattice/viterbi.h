#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "cpu/base/buffer.h"
#include "cpu/base/isa.h"
#include "math/trellis.h"

namespace wkmeans {

// Of the integers of one remainder modulo 4, which lead from one state to another, the nearest.
struct Nearest {
  Nearest() = default;
  WKM_ALWAYS_INLINE Nearest(double unit, int remainder)
      : integer(remainder + 4.0 * rounded((unit - remainder) * 0.25)),
        square((unit - integer) * (unit - integer)) {}

  double integer = 0.0;
  double square = 0.0;

private:
  // Ties to even, in arithmetic that every instruction set has: the sum's last bit is worth one.
  // Beyond 2^51, which no integer of a file is, whatever comes.
  static WKM_ALWAYS_INLINE double rounded(double value) {
    constexpr double kOnes = 0x1.8p52;
    return (value + kOnes) - kOnes;
  }
};

// The integers down one column that a trellis allows and that are nearest to targets, in the sum of
// squares: Viterbi's algorithm from state 0. Of equal sums the smaller second bit wins, and the
// smaller last state.
//
// Targets may hang on the integers before: `targets.begin(row)` comes first;
// `targets.nearest(state, second)` is then of the integers that leave a state by their second bit,
// after the best path to it. `targets.extend(from, integers, costs)` is told which state each of
// the eight came from, and with which integer, and may end paths by infinite costs.
class Viterbi {
public:
  template <class Targets>
  void run(std::int64_t n_rows, Targets& targets, double* integers) {
    steps_.resize(static_cast<std::size_t>(n_rows));
    std::array<double, kTrellisStates> costs;
    costs.fill(std::numeric_limits<double>::infinity());
    costs[0] = 0.0;
    for (std::int64_t row = 0; row < n_rows; ++row) {
      targets.begin(row);
      Step& step = steps_[static_cast<std::size_t>(row)];
      std::array<double, kTrellisStates> extended;
      for (int state = 0; state < kTrellisStates; ++state) {
        const int zero = trellis_before(state, 0);
        const int one = trellis_before(state, 1);
        const Nearest by_zero = targets.nearest(zero, 0);
        const Nearest by_one = targets.nearest(one, 1);
        const double cost_of_zero = costs[zero] + by_zero.square;
        const double cost_of_one = costs[one] + by_one.square;
        const bool is_one = cost_of_one < cost_of_zero;
        extended[state] = is_one ? cost_of_one : cost_of_zero;
        step.integer[state] = is_one ? by_one.integer : by_zero.integer;
        step.from[state] = static_cast<std::uint8_t>(is_one ? one : zero);
      }
      costs = extended;
      targets.extend(step.from, step.integer, costs);
    }
    auto state = std::min_element(costs.begin(), costs.end()) - costs.begin();
    for (std::int64_t row = n_rows - 1; row >= 0; --row) {
      const Step& step = steps_[static_cast<std::size_t>(row)];
      integers[row] = step.integer[state];
      state = step.from[state];
    }
  }

private:
  struct Step {
    std::array<double, kTrellisStates> integer;
    std::array<std::uint8_t, kTrellisStates> from;
  };

  Buffer<Step> steps_;
};

}  // namespace wkmeans
