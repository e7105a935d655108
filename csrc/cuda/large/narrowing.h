#pragma once

#include <cstddef>
#include <optional>

#include "cpu/base/parallel.h"
#include "cpu/intervals/placement.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"
#include "cuda/large/sorted_weights.h"

namespace wkmeans::cuda {

// Every different weight as a point, where there are few: no more than the sums that
// narrowed_points would begin with.
std::optional<Points> all_points(SortedWeights& weights, std::size_t k, Zero zero);

// Of many weights the points that matter to the optimum with k > 1 clusters: groups of weights in
// which none of its boundaries lies, and single weights where one may. It begins with sums over
// max(16384, 64 k) groups; a bound on the optimum says which of them to look into, and so on down
// to single weights.
template <class Moments>
Points narrowed_points(SortedWeights& weights, std::size_t k, const Placement& placement, Zero zero,
                       Pyramid<Moments>& pyramid, const Parallel& parallel);

}  // namespace wkmeans::cuda
