#pragma once

#include <cstddef>

#include "cpu/points.h"

namespace wkmeans {

// Room for so many groups.
void reserve_groups(std::size_t n, bool quartic, Points& points);

// Adds a point that stands for a group of weights; or puts it in the place of the last one.
void append_group(const QuarticMoments& moments, double low, double high, bool divisible,
                  bool quartic, Points& points, bool replaces_last = false);

}  // namespace wkmeans
