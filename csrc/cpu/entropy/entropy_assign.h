#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "math/power_sums.h"

namespace wkmeans {

// A codebook whose entries have a price: what naming one adds to a weight's cost, the multiplier
// times the length of its code.
struct PricedCodebook {
  std::vector<double> centroids;  // ascending
  std::vector<double> prices;

  std::size_t size() const { return centroids.size(); }
};

// A sound weight costs more than float64 holds about every centroid, or reaches 2^500.
class CostOverflow : public std::overflow_error {
public:
  explicit CostOverflow(std::int64_t item) : std::overflow_error("weights"), item_(item) {}
  std::int64_t item() const { return item_; }  // the first such

private:
  std::int64_t item_;
};

// What one assignment found.
struct EntropyAssignment {
  std::vector<std::int64_t> counts;  // of each label
  std::vector<PowerSums> sums;       // about each centroid
  std::int64_t n_changed = 0;        // labels that are not what they were before

  // Summed directly about the centroids; prices are not part of it.
  double cost() const;
};

// Writes to each weight of a problem the label j of least I (w - c_j)^2 + H (w - c_j)^4 + price_j,
// of equal ones the lower. A weight without importance thus takes the cheapest code. Centroids are
// below 2^500 or among the weights. Checks the operands' values; throws CostOverflow where all are
// sound but too large.
template <class Label>
EntropyAssignment entropy_assign(const Problems& problems, std::int64_t problem,
                                 const PricedCodebook& codebook, const Parallel& parallel,
                                 Label* labels);

}  // namespace wkmeans
