#pragma once

#include <cstddef>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/squeeze/sums.h"

namespace wkmeans {

// Which starts an interval that ends at some node may have: none outside earliest..latest of that
// end. Neither ever falls from one end to the next.
struct Starts {
  std::vector<std::size_t> earliest, latest;
};

// What intervals between two nodes cost as one cluster, for those that may be and cost no more than
// some limit, in units of that limit; never more than the truth, but for the rounding of the sums
// and to floats.
class IntervalCosts {
public:
  // `sums`: the running sums up to each of the nodes, columns padded by kLanes. The limit is
  // positive and finite, its inverse too.
  template <class Sums>
  void fill(SumColumns sums, const Starts& starts, double limit);

  std::size_t n_cells() const { return n_cells_; }

  double unit() const { return unit_; }

  // By how much a cost lies below the truth, at most, but for its rounding; not in units.
  double slack() const { return slack_; }

  // Intervals that end at `end` start at one of first(end)..last(end); no other is of use.
  std::size_t first(std::size_t end) const { return first_[end]; }
  std::size_t last(std::size_t end) const { return last_[end]; }
  float at(std::size_t start, std::size_t end) const { return values_[row_[end] + start]; }

  const float* values() const { return values_.data(); }
  const std::size_t* firsts() const { return first_.data(); }
  const std::size_t* lasts() const { return last_.data(); }
  const std::size_t* rows() const { return row_.data(); }  // at(start, end): values[row[end]+start]

private:
  std::size_t n_cells_ = 0;
  double slack_ = 0.0, unit_ = 1.0;
  Buffer<float> values_;
  Buffer<double> centroids_;  // of the intervals last looked at, by their starts
  std::vector<std::size_t> first_, last_, row_;
};

}  // namespace wkmeans
