#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/base/items.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/read/bucket_map.h"
#include "cpu/read/collect.h"

namespace wkmeans {

// Ordering all weights costs more than reading them. One pass sums the moments of narrow buckets,
// which bound where the optimum's boundaries can lie (Lemma 16); a second one collects the few
// weights there.

// What the rounding of buckets' sums adds up to.
class BucketRounding {
public:
  // A bucket of so many weights, whose I times width^2 and H times width^4 these are.
  void add(double count, double square, double fourth_power);
  double bound(double cost) const;

private:
  double of_moments_ = 0.0;
  double squares_of_means_ = 0.0;
  double fourth_powers_of_means_ = 0.0;
};

// The buckets of a problem that hold importance, as points that stand for several weights, and what
// is needed to look into some of them.
class BucketedPoints {
public:
  BucketedPoints(const Problems& problems, std::int64_t problem, std::size_t n_buckets,
                 const Parallel& parallel);

  const Problems& problems() const { return problems_; }
  std::int64_t problem() const { return problem_; }
  const Points& points() const { return points_; }

  const BucketMap& map() const { return map_; }
  const BucketMap::Bucket* bucket_of_items() const { return bucket_of_items_.data(); }

  // At most by how much rounding within buckets can have changed the cost of a clustering that
  // costs no more than `cost`. Importances too large or too small for the sums make it NaN.
  double rounding(double cost) const { return rounding_.bound(cost); }

  // The same problem for a solver that knows where boundaries can lie: at the nodes that are
  // `alive` (node i stands before bucket i) and inside the buckets that are `open`, which give way
  // to their weights. Runs of other buckets become one point each.
  Points opened(const std::vector<bool>& alive, const std::vector<bool>& open,
                PointCollector& collector) const;

private:
  template <class Sums>
  std::vector<Sums> sum(const std::vector<double>& middles);
  template <class Real, class Sums>
  void add_items(std::int64_t begin, std::int64_t end, const std::vector<double>& middles,
                 std::vector<Sums>& sums);

  const Problems& problems_;
  std::int64_t problem_;
  const Parallel& parallel_;
  BucketMap map_;
  Buffer<BucketMap::Bucket> bucket_of_items_;
  Points points_;
  std::vector<std::uint32_t> point_of_bucket_;
  BucketRounding rounding_;
};

}  // namespace wkmeans
