#pragma once

#include "cpu/lagrangian/grid.h"

namespace wkmeans {

// Lowers the grid's half-gaps where it can. `worth` bounds what one more centroid would save the
// optimum: centroids far apart around much importance leave more than that to save.
template <class Moments>
void bound_half_gaps(const Points& points, const Placement& placement, double worth,
                     const Parallel& parallel, Grid<Moments>& grid);

}  // namespace wkmeans
