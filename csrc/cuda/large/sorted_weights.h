#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "math/centroid_grid.h"
#include "math/moments.h"
#include "math/range.h"

namespace wkmeans::cuda {

// Neighbours among the sorted weights of a problem, summed up.
struct WeightGroup {
  std::uint64_t begin, end;
  QuarticMoments moments;
  double low, high;  // the least weight and the largest
};

// The weights of one problem that carry importance, in order, wherever they are held. What a solver
// may ask of them: none of the answers grows with their number.
class SortedWeights {
public:
  virtual ~SortedWeights() = default;

  virtual std::uint64_t size() const = 0;
  virtual bool quartic() const = 0;

  virtual std::vector<WeightGroup> describe(const std::vector<Range<std::uint64_t>>& spans) = 0;

  // Positions that cut each of these spans, which ascend, into up to `n_parts`, never between equal
  // weights. A span of different weights is cut at least once.
  virtual std::vector<std::uint64_t> cut(const std::vector<Range<std::uint64_t>>& spans,
                                         std::uint64_t n_parts) = 0;

  // How many different weights there are, or, given a format, different nearest values of it.
  virtual std::uint64_t count_runs(const std::optional<CentroidGrid>& format) = 0;

  // Where each run of those begins.
  virtual std::vector<std::uint64_t> run_starts(const std::optional<CentroidGrid>& format) = 0;

  // The weights at these ranks among the different ones.
  virtual std::vector<double> different_weights(const std::vector<std::uint64_t>& ranks) = 0;

  // How many weights lie at or below each threshold.
  virtual std::vector<std::uint64_t> boundaries(const std::vector<double>& thresholds) = 0;
};

}  // namespace wkmeans::cuda
