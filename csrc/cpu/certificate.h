#pragma once

#include <cstdint>
#include <vector>

#include "cpu/operand.h"
#include "cpu/points.h"

namespace wkmeans {

// Reported figures hold as real numbers: lower_bound <= optimum <= cost. Each sum is moved past
// what its own rounding can have taken from it or added to it.
struct Rounding {
  double relative = 0.0;
  double absolute = 0.0;  // products too small for a double

  double above(double sum) const;  // of non-negative terms
  double below(double bound) const;
};

// What so many roundings one after another can move a sum by, relatively.
double relative_rounding(double count);

// What underflow may hide in costs about these centroids; nothing where every point has its own.
double hidden_by_underflow(const Points& points, const std::vector<double>& centroids);

// Whether a problem's cost about these centroids was summed without any rounding, as it is over few
// small integers: such a cost needs no moving. Looks no further than the first item that was
// rounded.
template <class Label>
bool is_exact(double cost, const Problems& problems, std::int64_t problem,
              const std::vector<double>& centroids, const Label* labels, bool unit_importance);

// Figures above this hide nothing of note.
constexpr double kUnderflowing = 1e-200;

}  // namespace wkmeans
