#pragma once

#include <cstddef>
#include <vector>

#include "cpu/direct_moments.h"
#include "cpu/placement.h"
#include "cpu/points.h"

namespace wkmeans {

// A few cells of sorted points: cell v holds points [borders[v], borders[v + 1]).
template <class Moments>
struct SmallGrid {
  std::vector<std::size_t> borders;
  std::vector<char> open;  // a boundary of the optimum may lie inside the cell
  std::vector<Moments> cells;

  std::size_t size() const { return open.size(); }
  bool is_exact() const;  // no cell is open: every boundary of the optimum is a border
};

// What the importance of each point and its distance to the next ask of the clusters around it:
// (importance * distance^2)^(1/3), about; equal shares of it make fair first clusters.
class ClusterMeasure {
public:
  void measure(const Points& points);

  // The first points after each of about `n_parts` equal shares; a point worth more than a share
  // stands alone. Ascending, 0 and n included.
  void cut(std::size_t n_parts, std::vector<std::size_t>& borders) const;

private:
  std::vector<double> shares_;
  double total_ = 0.0;
  std::size_t pin_ = kNoPoint;
};

// Fills in the moments of every cell.
template <class Moments>
void fill_cells(const Points& points, SmallGrid<Moments>& grid);

// gains[v]: how much a clustering with boundaries inside cell v can cost less than the same
// centroids with the cell whole, where one more centroid would save the optimum at most `worth`.
template <class Moments>
void find_split_gains(const Points& points, const SmallGrid<Moments>& grid,
                      const Placement& placement, double worth, std::vector<double>& gains);

// Closes and fuses the cells between nodes that are not `alive` and cuts each other open cell into
// as many parts as leave about `most_cells` in all. Every one of `boundaries` becomes a border.
template <class Moments>
void refine(const std::vector<char>& alive, const std::vector<std::size_t>& boundaries,
            std::size_t most_cells, SmallGrid<Moments>& grid);

}  // namespace wkmeans
