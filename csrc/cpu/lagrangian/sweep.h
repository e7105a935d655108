#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/base/allowance.h"
#include "cpu/intervals/placement.h"

namespace wkmeans {

// Shortest paths over a row of cells: node i stands before cell i, an edge (p, i) makes one cluster
// of cells [p, i) and costs the cluster's optimum plus `multiplier`, and reaching an inner node i
// earns `discounts[i]` (empty: nothing).
struct Potentials {
  std::vector<double> costs;            // of the shortest path from node 0 to each node
  std::vector<std::uint32_t> previous;  // the node before each node on that path
};

// Where the optimum of a cluster is a root found by iteration, its cost is taken at a value that
// the true one never undercuts: paths never look longer than they are.
template <class Moments>
class Sweeper {
public:
  // Runs throw OutOfWork once more intervals have been looked at than are allowed.
  Sweeper(const Placement& placement, Allowance& allowance)
      : placement_(placement), allowance_(&allowance) {}

  const Placement& placement() const { return placement_; }
  const Potentials& run(const std::vector<Moments>& cells, double multiplier,
                        const std::vector<double>& discounts);
  const Potentials& potentials() const { return potentials_; }  // of the last run

private:
  template <class Where>
  double sweep(const std::vector<Moments>& cells, double multiplier, const double* discounts,
               std::size_t stride, Where where);

  Placement placement_;
  Allowance* allowance_;
  Potentials potentials_;
  std::vector<double> state_, candidates_;
  std::vector<double> roots_, loose_, missed_, bounds_;  // quartic
};

// Nodes of the shortest path, first and last included.
std::vector<std::uint32_t> shortest_path(const Potentials& potentials);

}  // namespace wkmeans
