#pragma once

#include <cstddef>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/placement.h"
#include "cpu/points.h"
#include "cpu/pyramid.h"

namespace wkmeans {

// The optimal cost with 1..k clusters, 1 <= k <= points.size(). Many points: branch and bound for
// each number, side by side, since each closes on some hundred positions of its own. Few, or where
// that does not close: the layered programme, which passes every number on its way to k.
template <class Moments>
std::vector<double> optimal_curve(const Points& points, const Pyramid<Moments>& pyramid,
                                  const Placement& placement, std::size_t k,
                                  const Parallel& parallel);

}  // namespace wkmeans
