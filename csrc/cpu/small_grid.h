#pragma once

#include <cstddef>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/points.h"
#include "cpu/small_sums.h"

namespace wkmeans {

// A few cells of sorted points: cell v holds points [borders[v], borders[v + 1]).
struct SmallGrid {
  std::vector<std::size_t> borders;
  std::vector<char> open;         // a boundary of the optimum may lie inside the cell
  std::vector<double> half_gaps;  // the centroids on either side are no further apart, halved
  Buffer<double> sums;            // up to each border, in columns
  std::size_t stride = 0;

  std::size_t size() const { return borders.size() - 1; }
  SumColumns columns() const { return {sums.data(), stride}; }

  // Where a boundary can have been that was moved to a node.
  std::size_t low(std::size_t node) const {
    return node > 0 && open[node - 1] ? borders[node - 1] + 1 : borders[node];
  }
  std::size_t high(std::size_t node) const {
    return node < size() && open[node] ? borders[node + 1] - 1 : borders[node];
  }
};

// Positions low..high between sorted points.
struct Stretch {
  std::size_t low, high;

  std::size_t size() const { return high - low + 1; }
};

// What the importance of each point and its distance to the next ask of the clusters around it:
// (importance * distance^2)^(1/3), about; equal shares of it make fair first clusters.
class ClusterMeasure {
public:
  void measure(const Points& points);

  // Appends the first points after each of about `n_parts` equal shares of points [begin, end); a
  // point worth more than a share stands alone. Ascending, begin and end included.
  void cut(std::size_t begin, std::size_t end, std::size_t n_parts,
           std::vector<std::size_t>& borders) const;

private:
  Buffer<double> shares_;
  Buffer<double> running_;  // sums of the shares before each point
};

// Cuts the stretches into about `most_cells` cells, to single points if they suffice, and leaves
// each space between them one closed cell. Whether all open positions are borders.
bool cut_stretches(const std::vector<Stretch>& stretches, std::size_t n_points,
                   const ClusterMeasure& measure, std::size_t most_cells, SmallGrid& grid);

// Fills in the sums up to each border.
template <class Moments>
void gather_sums(const SmallSums<Moments>& sums, SmallGrid& grid);

// Fills in the half-gaps, where one more centroid would save the optimum at most `worth`.
template <class Moments>
void bound_half_gaps(const SmallSums<Moments>& sums, double worth, SmallGrid& grid);

// What each node earns for the boundaries that are moved to it out of the cells on either side: by
// how much a clustering with boundaries inside a cell can cost less than the same centroids with
// the cell whole.
template <class Moments>
void find_discounts(const SmallSums<Moments>& sums, const SmallGrid& grid,
                    std::vector<double>& discounts);

}  // namespace wkmeans
