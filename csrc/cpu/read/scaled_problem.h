#pragma once

#include <cstdint>
#include <optional>

#include "cpu/base/items.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "math/magnitude.h"
#include "math/scaled_figures.h"

namespace wkmeans {

// A copy of one problem whose costs, or what is computed on the way to them, would leave a double's
// range: multiplied by powers of two that bring them back.
class ScaledProblem {
public:
  // Nothing where the problem is fine as it is, or holds what no problem may: that is found as
  // items are read. Reads them once more, unless their dtypes alone say that they are fine.
  static std::optional<ScaledProblem> where_needed(const Problems& problems, std::int64_t problem,
                                                   const Parallel& parallel);

  // The same for an optimum that costs no more than `cost`, where that is next to nothing beside
  // the heaviest importances: these are lowered to what no weight far from its centroid has in such
  // an optimum, and the light ones keep their digits. No clustering costs more so: the bound holds.
  // Nothing where none is that heavy.
  std::optional<ScaledProblem> lowered_to(double cost, const Problems& problems,
                                          std::int64_t problem) const;
  bool is_lowered() const { return is_lowered_; }

  const PowersOfTwo& powers() const { return powers_; }
  Problems view() const;  // of one problem; stays with this copy

  double scaled_weight(double value) const;
  double unscaled_weight(double value) const;
  // As those of `ScaledFigures`.
  double unscaled_cost(double cost) const;
  double unscaled_bound(double bound) const;
  // Whether a scaled cost is so small that scaling or underflow may have hidden more; importances
  // of 1 are never so far apart.
  bool may_be_lost(double cost) const;

private:
  ScaledProblem(const Problems& problems, std::int64_t problem, bool unit_importance,
                const Magnitudes& largest, const PowersOfTwo& powers);
  ScaledFigures figures() const;

  PowersOfTwo powers_;
  Magnitudes largest_;  // of the importances lowered to these
  bool unit_importance_;
  bool is_lowered_ = false;
  double lost_ = 0.0;  // at most, of a scaled cost, beside its last digits
  KeptItems items_;
  std::optional<Operand> weights_, importance_, quartic_importance_;
};

}  // namespace wkmeans
