#pragma once

#include <cstddef>
#include <optional>

#include "cpu/read/points.h"
#include "cpu/squeeze/finish.h"

namespace wkmeans {

// The global optimum with k clusters, 1 <= k < points.size(), with free centroids where none
// is pinned, quickest where there are few points. Shortest paths over a few coarse cells leave a
// window for each boundary; windows are squeezed by Lloyd's rounds, cut into finer cells and
// narrowed again until few points are left. Nothing where rounding, ties or too even a choice keep
// them open.
template <class Moments>
std::optional<SqueezedOptimum<Moments>> squeezed_optimum(const Points& points, std::size_t k);

}  // namespace wkmeans
