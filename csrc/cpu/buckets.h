#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/operand.h"
#include "cpu/parallel.h"
#include "cpu/points.h"

namespace wkmeans {

// Ordering all weights costs more than reading them. One pass sums the moments of narrow buckets,
// which bound where the optimum's boundaries can lie; a second one collects the few weights there.

// Cuts the number line into buckets: every binade, of either sign, into a power of two of them.
class BucketMap {
public:
  // Fine where a sample of the problem's weights says that boundaries are needed.
  BucketMap(const Problems& problems, std::int64_t problem, std::size_t n_buckets);

  std::size_t size() const { return size_; }

  std::size_t bucket_of(double weight) const {
    const std::uint64_t key = key_of(weight);
    const Binade& binade = binades_[static_cast<std::size_t>(key >> mantissa_bits_)];
    return binade.first + static_cast<std::size_t>((key & mantissa_mask_) >> binade.shift);
  }

  // The least and the largest weight that a bucket can hold.
  struct Range {
    double low, high;
  };
  std::vector<Range> ranges() const;

private:
  struct Binade {
    std::uint32_t first = 0;
    std::uint32_t shift = 0;
  };

  std::uint64_t key_of(double weight) const;
  double value_of(std::uint64_t key) const;

  bool wide_;  // keys are of doubles
  int mantissa_bits_;
  std::uint64_t mantissa_mask_;
  std::vector<Binade> binades_;
  std::size_t size_ = 0;
};

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

  const Points& points() const { return points_; }

  // At most by how much rounding within buckets can have changed the cost of a clustering that
  // costs no more than `cost`. Importances too large or too small for the sums make it NaN.
  double rounding(double cost) const { return rounding_.bound(cost); }

  // The same problem for a solver that knows where boundaries can lie: at the nodes that are
  // `alive` (node i stands before bucket i) and inside the buckets that are `open`, which give way
  // to their weights. Runs of other buckets become one point each.
  Points opened(const std::vector<bool>& alive, const std::vector<bool>& open,
                PointCollector& collector) const;

private:
  const Problems& problems_;
  std::int64_t problem_;
  const Parallel& parallel_;
  BucketMap map_;
  Points points_;
  std::vector<std::uint32_t> point_of_bucket_;
  BucketRounding rounding_;
};

}  // namespace wkmeans
