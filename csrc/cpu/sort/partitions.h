#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/sort/radix_sort.h"

namespace wkmeans {

// Cuts the order of a problem's weights into stretches by the leading bits of their keys. Once
// every item lies in its stretch, each is small enough to be sorted in cache, on a thread of its
// own.
class Partitions {
public:
  // Value: float or double, as which the weights are compared.
  template <class Value>
  void plan(const Problems& problems, std::int64_t problem, const Parallel& parallel);

  std::size_t size() const { return begins_.size() - 1; }
  std::size_t begin(std::size_t partition) const { return begins_[partition]; }
  std::size_t end(std::size_t partition) const { return begins_[partition + 1]; }

  // Items are moved segment by segment, each of consecutive chunks, each in the order of its items:
  // the order within a stretch is theirs, however many segments there are.
  std::int64_t n_segments() const { return n_segments_; }
  std::int64_t first_chunk(std::int64_t segment) const { return n_chunks_ * segment / n_segments_; }

  // Where the next item of a segment goes.
  template <class Key>
  std::size_t place(std::int64_t segment, Key key) {
    const std::size_t partition = partition_of_bin_.empty() ? 0 : partition_of_bin_[bin_of(key)];
    return next_[static_cast<std::size_t>(segment) * size() + partition]++;
  }

private:
  template <class Key>
  std::size_t bin_of(Key key) const {
    return static_cast<std::size_t>(key >> (static_cast<int>(sizeof(Key)) * 8 - leading_bits_));
  }
  template <class Value>
  std::vector<std::uint32_t> count_bins(const Problems& problems, std::int64_t problem,
                                        const Parallel& parallel) const;

  int leading_bits_ = 0;
  std::int64_t n_chunks_ = 0, n_segments_ = 1;
  std::vector<std::uint16_t> partition_of_bin_;  // empty where there is one
  std::vector<std::size_t> begins_;
  std::vector<std::size_t> next_;  // [segment][partition]
};

}  // namespace wkmeans
