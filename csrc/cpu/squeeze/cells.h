#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/read/points.h"
#include "cpu/squeeze/sums.h"
#include "math/range.h"

namespace wkmeans {

// A few cells of sorted points: cell v holds points [borders[v], borders[v + 1]).
struct SqueezeGrid {
  std::vector<std::size_t> borders;
  std::vector<char> open;         // a boundary of the optimum may lie inside the cell
  std::vector<double> half_gaps;  // the centroids on either side are no further apart, halved
  Buffer<double> lows, highs;     // the least and the largest point of each cell, once asked for
  Buffer<double> sums;            // up to each border, in columns, with kReach before and after
  std::size_t stride = 0;
  double radius = 0.0;  // of the points, about the centre of the sums

  static constexpr std::size_t kReach = 5;  // cells on either side that a half-gap's bound takes in

  std::size_t size() const { return borders.size() - 1; }
  // Whether no boundary of the optimum lies inside a cell.
  bool is_exact() const { return std::find(open.begin(), open.end(), 1) == open.end(); }
  SumColumns columns() const { return {sums.data() + kReach, stride, radius}; }

  // Where a boundary can have been that was moved to a node.
  std::size_t low(std::size_t node) const {
    return node > 0 && open[node - 1] ? borders[node - 1] + 1 : borders[node];
  }
  std::size_t high(std::size_t node) const {
    return node < size() && open[node] ? borders[node + 1] - 1 : borders[node];
  }
};

// What the importance of each point and its distance to the next ask of the clusters around it:
// (importance * distance^2)^(1/3), about; equal shares of it make fair first clusters.
class ClusterMeasure {
public:
  void measure(const Points& points);

  // Appends the first points after shares of at most 1 / n_parts of the whole, begin and end
  // included, ascending; a point worth more stands alone.
  void cut(std::size_t begin, std::size_t end, double n_parts,
           std::vector<std::size_t>& borders) const;

private:
  Buffer<double> shares_;
  Buffer<double> running_;  // sums of the shares before each point
};

// Makes borders of the stretches' positions that `cut(low, high, borders)` appends, and leaves each
// space between the stretches one closed cell.
template <class Cut>
void cut_stretches(const std::vector<Positions>& stretches, std::size_t n_points, SqueezeGrid& grid,
                   Cut&& cut) {
  std::vector<std::size_t>& borders = grid.borders;
  borders.assign(1, 0);
  grid.open.clear();
  for (const Positions& stretch : stretches) {
    grid.open.push_back(0);
    cut(stretch.first, stretch.last, borders);
    while (grid.open.size() < borders.size() - 1) {
      const std::size_t v = grid.open.size();
      grid.open.push_back(borders[v + 1] - borders[v] > 1 ? 1 : 0);
    }
  }
  borders.push_back(n_points);
  grid.open.push_back(0);
}

// Makes one cell of each `n_cells`, which no boundary is moved out of.
void thin_out(const SqueezeGrid& grid, std::size_t n_cells, SqueezeGrid& coarse);

// Fills in the sums up to each border.
template <class Moments>
void gather_sums(const SqueezeSums<Moments>& sums, SqueezeGrid& grid);

// Fills in the half-gaps, where one more centroid would save the optimum at most `worth`; for cells
// of about equal share of the measure.
template <class Moments>
void bound_half_gaps(const SqueezeSums<Moments>& sums, double worth, SqueezeGrid& grid);

// gains[v]: how much a clustering with boundaries inside cell v can cost less than the same
// centroids with the cell whole.
template <class Moments>
void find_gains(const SqueezeSums<Moments>& sums, const SqueezeGrid& grid,
                std::vector<double>& gains);

}  // namespace wkmeans
