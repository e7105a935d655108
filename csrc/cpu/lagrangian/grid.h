#pragma once

#include <cstddef>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/intervals/placement.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"
#include "math/range.h"

namespace wkmeans {

// The points cut into cells. Cell v holds points [borders[v], borders[v + 1]).
template <class Moments>
struct Grid {
  std::vector<std::size_t> borders;
  std::vector<Moments> cells;
  std::vector<bool> open;  // a boundary of the optimum may lie inside the cell
  // At most how far apart two centroids of the optimum around a boundary in the cell lie, halved.
  std::vector<double> half_gaps;

  std::size_t size() const { return cells.size(); }
  bool is_exact() const;  // no cell is open: every boundary of the optimum is a border
};

// Cells of about equal share of the measure (importance * width^2)^(1/3), whose k-th parts make a
// fair first guess at the optimal clusters.
template <class Moments>
Grid<Moments> measured_grid(const Points& points, const Pyramid<Moments>& pyramid,
                            std::size_t n_cells, const Parallel& parallel);

// One cell for each point that some zone lets a boundary come before or after; one cell fills each
// space between zones.
template <class Moments>
Grid<Moments> exact_grid(const Pyramid<Moments>& pyramid, std::size_t n_points,
                         const std::vector<Positions>& zones, const Parallel& parallel);

// The first grid where another look has left open only zones between groups of weights that hold no
// boundary of the optimum: each such group is a cell, a zone is cut into a few, and at each of
// `boundaries`.
template <class Moments>
Grid<Moments> zoned_grid(const Points& points, const Pyramid<Moments>& pyramid,
                         const std::vector<std::size_t>& boundaries, const Parallel& parallel);

// gains[v]: how much a clustering with boundaries inside cell v can cost less than the same
// centroids with the cell whole.
template <class Moments>
std::vector<double> split_gains(const Points& points, const Placement& placement,
                                const Grid<Moments>& grid);

// What the bounds say of each cell.
struct Verdict {
  std::vector<bool> alive;           // node i: the optimum may have a boundary moved to it
  std::vector<std::size_t> n_parts;  // cell v: into how many it should be cut
};

// Closes and fuses the cells between dead nodes, cuts the others, and makes every one of
// `boundaries` a border.
template <class Moments>
Grid<Moments> refined_grid(const Points& points, const Pyramid<Moments>& pyramid,
                           const Grid<Moments>& grid, const Verdict& verdict,
                           const std::vector<std::size_t>& boundaries, const Parallel& parallel);

// The positions that are left: alive nodes and the insides of open cells.
template <class Moments>
std::vector<Positions> open_zones(const Grid<Moments>& grid, const std::vector<bool>& alive);

}  // namespace wkmeans
