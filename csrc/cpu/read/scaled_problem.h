#pragma once

#include <cstdint>
#include <optional>

#include "cpu/base/items.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "math/magnitude.h"

namespace wkmeans {

// A copy of one problem whose costs, or what is computed on the way to them, would leave a double's
// range: multiplied by powers of two that bring them back.
class ScaledProblem {
public:
  // Nothing where the problem is fine as it is, or holds what no problem may: that is found as
  // items are read. Reads them once more, unless their dtypes alone say that they are fine.
  static std::optional<ScaledProblem> where_needed(const Problems& problems, std::int64_t problem,
                                                   const Parallel& parallel);

  const PowersOfTwo& powers() const { return powers_; }
  Problems view() const;  // of one problem; stays with this copy

  double scaled_weight(double value) const;
  double unscaled_weight(double value) const;
  // Rounded up, to infinity where the cost truly is beyond a double.
  double unscaled_cost(double cost) const;
  // Whether a scaled cost is so small that more may have been lost in scaling.
  bool may_be_lost(double cost) const;
  // Less what was lost, and rounded down.
  double unscaled_bound(double bound) const;

private:
  ScaledProblem(const Problems& problems, std::int64_t problem, bool unit_importance,
                double largest_weight, const PowersOfTwo& powers);

  PowersOfTwo powers_;
  double lost_ = 0.0;  // at most, of a scaled cost, beside its last digits
  KeptItems items_;
  std::optional<Operand> weights_, importance_, quartic_importance_;
};

}  // namespace wkmeans
