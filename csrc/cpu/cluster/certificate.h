#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/read/points.h"
#include "math/rounding.h"

namespace wkmeans {

// What underflow may hide in costs about these centroids; nothing where every point has its own.
double hidden_by_underflow(const Points& points, const std::vector<double>& centroids);

// Whether a problem's cost about these centroids was summed without any rounding, as it is over few
// small integers: such a cost needs no moving. Looks no further than the first item that was
// rounded.
template <class Label>
bool is_exact(double cost, const Problems& problems, std::int64_t problem,
              const std::vector<double>& centroids, const Label* labels, bool unit_importance);

// The cost about these centroids, no less than it is as a real number: summed item by item, in an
// order of factors that neither leaves a double's range on the way nor meets weights without
// importance.
template <class Label>
double direct_cost(const Problems& problems, std::int64_t problem,
                   const std::vector<double>& centroids, const Label* labels);

}  // namespace wkmeans
