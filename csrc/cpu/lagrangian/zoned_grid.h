#pragma once

#include <cstddef>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/lagrangian/grid.h"
#include "cpu/read/points.h"

namespace wkmeans {

// The first grid where another look has left open only zones between groups of weights that hold no
// boundary of the optimum: each such group is a cell, a zone is cut into a few, and at each of
// `boundaries`.
template <class Moments>
Grid<Moments> zoned_grid(const Points& points, const Pyramid<Moments>& pyramid,
                         const std::vector<std::size_t>& boundaries, const Parallel& parallel);

}  // namespace wkmeans
