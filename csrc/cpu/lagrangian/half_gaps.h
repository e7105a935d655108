#pragma once

#include "cpu/lagrangian/grid.h"

namespace wkmeans {

// Lowers the grid's half-gaps where it can. `worth` bounds what one more centroid would save the
// optimum: centroids far apart around much importance leave more than that to save.
template <class Moments>
void bound_half_gaps(const Points& points, const Placement& placement, double worth,
                     const Parallel& parallel, Grid<Moments>& grid);

// Closes the cells that no boundary can lie in because none lies between the values of a format: it
// is halfway between two of these, so where centroids are no further apart than the half-gaps say
// it is a multiple of half the finest step among them.
template <class Moments>
void close_between_values(const Points& points, const Placement& placement, Grid<Moments>& grid);

// Whether a boundary can come between points b - 1 and b for b = borders[node], seen from the cells
// on either side.
template <class Moments>
bool may_hold_boundary_at(const Points& points, const Placement& placement,
                          const Grid<Moments>& grid, std::size_t node);

}  // namespace wkmeans
