#pragma once

#include <cstddef>
#include <vector>

#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

// Where each boundary of a clustering may lie: at nodes, positions between sorted points, in a
// window of its own, or in a cell between two of them. Strips meet at most; the first and the last
// are the two ends of all points.
template <class Moments>
struct Strips {
  std::vector<std::size_t> first;      // window j: nodes first[j] to first[j + 1] - 1
  std::vector<std::size_t> positions;  // node i stands before point positions[i]
  std::vector<Moments> cells;          // cell i: the points between nodes i and i + 1
  std::vector<double> gains;           // cell i: of a boundary inside at most; 0: there is none

  std::size_t size() const { return first.empty() ? 0 : first.size() - 1; }
  std::size_t n_nodes() const { return positions.size(); }

  void begin_window() { first.push_back(positions.size()); }

  // The next node, and the cell that ends there.
  void add(const Moments& cell, double gain, std::size_t position) {
    cells.push_back(cell);
    gains.push_back(gain);
    positions.push_back(position);
  }

  // The nodes of another's window after its first one, and the cells between them.
  void add_rest_of(const Strips& other, std::size_t window) {
    const auto append = [](const auto& from, std::size_t begin, std::size_t end, auto& to) {
      to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(begin),
                from.begin() + static_cast<std::ptrdiff_t>(end));
    };
    const std::size_t begin = other.first[window];
    const std::size_t last = other.first[window + 1] - 1;
    append(other.cells, begin, last, cells);
    append(other.gains, begin, last, gains);
    append(other.positions, begin + 1, last + 1, positions);
  }

  void clear() {
    first.clear();
    positions.clear();
    cells.clear();
    gains.clear();
  }
};

// Centroids about a window: the cluster before its boundary has none left of `left`, the one after
// it none right of `right`; `own` is that of all points in the window.
struct Surroundings {
  double left, own, right;

  bool operator==(const Surroundings& other) const {
    return left == other.left && own == other.own && right == other.right;
  }
};

// How much a boundary inside a cell may gain: `least` at the ends of a window, more where it costs
// more to have the boundary there than at an end, up to `most`.
struct Tolerance {
  double least, most;
};

// Cuts points into cells, made of whole groups of the pyramid where these are narrow enough.
template <class Moments>
class CellCutter {
public:
  CellCutter(const Points& points, const Pyramid<Moments>& pyramid)
      : points_(points), pyramid_(pyramid) {}

  // Adds cells of points [begin, end), whose moments are `whole`, and the nodes at their ends.
  void cut(std::size_t begin, std::size_t end, const Moments& whole,
           const Surroundings& surroundings, const Tolerance& tolerance,
           Strips<Moments>& windows) const;

private:
  // Of the pyramid; a point alone where size is 1.
  struct Group {
    std::size_t level, size;
  };
  Group largest_group(std::size_t begin, std::size_t end) const;
  Group part_of(const Group& group) const;
  Moments moments_of(const Group& group, std::size_t begin) const;

  double half_gap(std::size_t begin, std::size_t end, const Surroundings& surroundings) const;

  const Points& points_;
  const Pyramid<Moments>& pyramid_;
};

}  // namespace wkmeans
