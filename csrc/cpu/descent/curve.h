#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/intervals/placement.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

// The optimal cost with 1..k clusters, 1 <= k <= points.size(). Many points: each optimum from that
// with one cluster more. Few, or where that does not close: the layered programme, which passes
// every number on its way to k.
template <class Moments>
std::vector<double> optimal_curve(const Points& points, const Pyramid<Moments>& pyramid,
                                  const Placement& placement, std::size_t k,
                                  const Parallel& parallel);

// The same by descents alone, each from an optimum that branch and bound found; nothing where one
// is not certified to 1e-9 within some ten times the usual work.
template <class Moments>
std::optional<std::vector<double>> descended_curve(const Points& points,
                                                   const Pyramid<Moments>& pyramid,
                                                   const Placement& placement, std::size_t k,
                                                   const Parallel& parallel);

}  // namespace wkmeans
