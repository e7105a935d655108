#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/descent/strips.h"
#include "cpu/intervals/placement.h"

namespace wkmeans {

// Shortest paths through one node of every window: an edge makes one cluster of the points between
// two nodes and costs its optimum, never more; reaching a node earns its discount.
template <class Moments>
class WindowPaths {
public:
  explicit WindowPaths(const Placement& placement) : placement_(placement) {}

  // From the first node to each; keeps the way.
  const std::vector<double>& run_forward(const Strips<Moments>& windows,
                                         const std::vector<double>& discounts);
  // From each node to the last; its own discount is earned too.
  const std::vector<double>& run_backward(const Strips<Moments>& windows,
                                          const std::vector<double>& discounts);

  // After run_forward: what the shortest path costs, and its nodes of the shortest path, one of
  // each window.
  double least() const { return forward_.back(); }
  std::vector<std::size_t> shortest_path(const Strips<Moments>& windows) const;

  double work() const { return work_; }  // intervals looked at so far

private:
  void run(const std::vector<std::size_t>& first, const std::vector<Moments>& cells,
           const std::vector<double>& discounts, std::vector<double>& costs,
           std::uint32_t* previous);

  Placement placement_;
  double work_ = 0.0;
  std::vector<double> forward_, backward_;
  std::vector<std::uint32_t> previous_;
  std::vector<double> state_, roots_, candidates_, loose_, starts_, start_costs_;
  std::vector<Moments> ends_;
};

}  // namespace wkmeans
