#pragma once

#include <optional>
#include <vector>

#include "cpu/intervals/optimum.h"
#include "cpu/read/points.h"
#include "cpu/squeeze/layers.h"

namespace wkmeans {

template <class Moments>
struct SqueezedOptimum : Optimum {
  std::vector<Moments> clusters;
};

// The best clustering whose boundary j is one of borders[ranges[j].first..ranges[j].last], to full
// precision; nothing where that leaves too many.
template <class Moments>
std::optional<SqueezedOptimum<Moments>> cheapest_within(const Points& points,
                                                        const std::vector<std::size_t>& borders,
                                                        const std::vector<Positions>& ranges);

}  // namespace wkmeans
