#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "cpu/intervals/pyramid.h"
#include "cpu/layered/optimal_layers.h"
#include "cpu/read/points.h"
#include "math/centroid_grid.h"

namespace wkmeans {

// The optimal codebooks among the few values that a format holds where the points lie.
struct OptimalValues {
  std::vector<double> costs;   // costs[j]: the optimum with at most j + 1 of them
  std::vector<double> values;  // of the last, ascending; each serves some point
  double lower_bound = 0.0;    // of the last
};

// By a programme over the values themselves: two neighbours of a codebook share what lies between
// them, each point going to the nearer one, so a codebook is a path from value to value, and the
// work depends on their number. Where weights lie beyond the largest value, or many round to one,
// clusterings tie in masses, and branch and bound over positions between points closes nothing.
// Nothing where there are too many values, or more than points.
//
// Every cost is right where costs are wanted, else the last alone: what a fair codebook of k values
// excludes is not looked at.
template <class Moments>
std::optional<OptimalValues> optimal_values(const Points& points, const Pyramid<Moments>& pyramid,
                                            const CentroidGrid& grid, std::size_t k, Want want);

}  // namespace wkmeans
