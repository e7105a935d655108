#pragma once

#include <cstddef>
#include <optional>

#include "cpu/lagrangian/branch_and_bound.h"

namespace wkmeans {

// The global optimum with k clusters, 1 <= k < points.size(): by branch and bound, or by layers
// where these are the quicker way or it does not close. Where neither closes in the work that a
// problem may take, the best clustering found on the way, which is not certified.
template <class Moments>
Optimum optimal(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
                std::size_t k, const Parallel& parallel,
                const std::optional<Start>& start = std::nullopt);

// The same by layers alone.
template <class Moments>
Optimum layered_optimum(const Points& points, const Pyramid<Moments>& pyramid,
                        const Placement& placement, std::size_t k, const Parallel& parallel);

}  // namespace wkmeans
