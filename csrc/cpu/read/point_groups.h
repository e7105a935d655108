#pragma once

#include <cstddef>

#include "cpu/read/points.h"

namespace wkmeans {

// Adds a point that stands for a group of weights; or puts it in the place of the last one, which
// was a group, too.
void append_group(const PointGroup& group, bool quartic, Points& points,
                  bool replaces_last = false);

// Adds those of `from` in [begin, end), each of which is one weight.
void append_weights(const Points& from, std::size_t begin, std::size_t end, Points& points);

}  // namespace wkmeans
