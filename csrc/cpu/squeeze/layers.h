#pragma once

#include <cstddef>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/squeeze/interval_costs.h"
#include "math/range.h"

namespace wkmeans {

// Shortest paths of at most so many edges over a row of cells, for every number of edges at once:
// node i stands before cell i, an edge (p, i) makes one cluster of cells [p, i), and a path earns
// `discounts[i]` at each of its inner nodes. One lane a number of edges; floats, since these paths
// only ever serve to exclude. Discounts of no path come to more than the costs' unit.
class Layers {
public:
  // Of at most 0..k edges from the first node to every node.
  void run_forward(const IntervalCosts& costs, std::size_t k, const std::vector<double>& discounts);

  // Of at most 0..k edges from every node to the last.
  void run_backward(const IntervalCosts& costs, std::size_t k,
                    const std::vector<double>& discounts);

  // After run_forward without discounts: the least of a path of at most `n_edges` edges from first
  // to last, or a little more.
  double least(std::size_t n_edges) const;

  // After both, with the same discounts: narrows ranges[j], for each 0 < j < k, to the nodes that
  // end the j-th edge, at most, of a path of at most k edges which comes to no more than `most`,
  // and tells of each node whether it ends any. False where a range has none.
  bool keep_reached(double most, std::vector<Positions>& ranges, std::vector<char>& reached);

  // After run_forward: the inner and last nodes of a shortest path of at most k edges.
  std::vector<std::size_t> path(const IntervalCosts& costs) const;

private:
  void prepare(const IntervalCosts& costs, std::size_t k, const std::vector<double>& discounts,
               Buffer<float>& layers);
  const float* forward_row(std::size_t node) const { return aligned(forward_) + node * stride_; }

  // How far rounding can move what a path costs, relative to that or to the costs' unit.
  double rounding() const;

  static const float* aligned(const Buffer<float>& layers);
  static float* aligned(Buffer<float>& layers);

  std::size_t n_ = 0, k_ = 0, n_lanes_ = 0, stride_ = 0;
  double unit_ = 1.0;
  std::vector<std::size_t> first_, last_;  // a lane a layer
  Buffer<float> discounts_;
  Buffer<float> forward_;   // [node][at most l edges from the first node]
  Buffer<float> backward_;  // [node][l]: at most k - l edges to the last node
};

}  // namespace wkmeans
