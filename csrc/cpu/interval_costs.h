#pragma once

#include <cstddef>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/placement.h"

namespace wkmeans {

// What every interval of a row of cells costs as one cluster, for intervals that cost no more than
// some limit. Interval [start, end) is that of cells start..end - 1. Where the optimum of a cluster
// is a root found by iteration, its cost is taken at a value that the true one never undercuts.
class IntervalCosts {
public:
  template <class Moments>
  void fill(const std::vector<Moments>& cells, double limit, const Placement& placement);

  std::size_t n_cells() const { return n_cells_; }

  // Intervals that end before cell `end` start at first(end) or later; no wider one is of use.
  std::size_t first(std::size_t end) const { return first_[end]; }
  double at(std::size_t start, std::size_t end) const { return values_[row_[end] + start]; }

  const double* values() const { return values_.data(); }
  const std::size_t* firsts() const { return first_.data(); }
  const std::size_t* rows() const { return row_.data(); }  // at(start, end): values[row[end]+start]

private:
  std::size_t n_cells_ = 0;
  Buffer<double> values_;
  std::vector<std::size_t> first_, row_;
  Buffer<double> state_, roots_, excess_, reachable_;
};

}  // namespace wkmeans
