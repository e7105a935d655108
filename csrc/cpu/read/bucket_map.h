#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"

namespace wkmeans {

// Cuts the number line into buckets: every binade, of either sign, into a power of two of them.
class BucketMap {
public:
  using Bucket = std::uint16_t;
  static constexpr std::size_t kMost = 65536;

  // Fine where a sample of the problem's weights says that boundaries are needed: about `n_buckets`
  // of them, more where some hold little.
  BucketMap(const Problems& problems, std::int64_t problem, std::size_t n_buckets);

  std::size_t size() const { return size_; }

  template <class Real>  // float or double
  void find(const Real* weights, std::int64_t count, Bucket* buckets) const;

  // The least and the largest weight that a bucket can hold.
  struct Bounds {
    double low, high;
  };
  std::vector<Bounds> bounds() const;

  // A key's bucket is what is left of it after the shift, plus the offset, modulo 2^32.
  struct Binade {
    std::uint32_t offset = 0;
    std::uint32_t shift = 0;
  };

private:
  std::uint64_t key_of(double weight) const;
  double value_of(std::uint64_t key) const;
  std::vector<double> sampled_shares(const Problems& problems, std::int64_t problem) const;
  void cut(const std::vector<double>& shares, std::size_t n_buckets);

  bool wide_;  // keys are of doubles
  int mantissa_bits_;
  std::vector<Binade> binades_;
  std::size_t size_ = 0;
};

}  // namespace wkmeans
