#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/coding/ans.h"

namespace wkmeans {

// How often each of the codes first, first + 1, ... occurs.
struct CodeCounts {
  std::int64_t first;
  const std::int64_t* begin;  // not negative; less than 2^40 altogether
  const std::int64_t* end;
};

// The shares of 2^24 that codes own, in proportion to their counts: F_j of docs/format.md. Codes
// that do not occur own none; where none occurs, the first owns everything.
class CodeTable {
public:
  explicit CodeTable(const CodeCounts& counts);

  // Of a code that occurs.
  AnsShare share(std::int64_t code) const {
    const auto j = static_cast<std::size_t>(rank_[static_cast<std::size_t>(code - first_)]);
    return {bounds_[j], bounds_[j + 1] - bounds_[j]};
  }

  std::uint32_t pop(AnsDecoder& decoder) const {
    const std::uint32_t quantile = decoder.quantile();
    const std::uint32_t bucket = quantile >> shift_;
    std::uint32_t j = first_of_[bucket];
    // Most buckets lie within one share; a hostile table may squeeze thousands into one.
    if (const std::uint32_t last = first_of_[bucket + 1]; j != last) {
      const auto above =
          std::upper_bound(bounds_.begin() + j + 1, bounds_.begin() + last + 1, quantile);
      j = static_cast<std::uint32_t>(above - bounds_.begin()) - 1;
    }
    const std::uint32_t start = bounds_[j];
    decoder.pop(quantile, {start, bounds_[j + 1] - start});
    return codes_[j];
  }

private:
  void set_bounds(const CodeCounts& counts, std::uint64_t total);
  void set_buckets();

  std::int64_t first_;
  std::vector<std::uint32_t> rank_;      // of each code among those that occur
  std::vector<std::uint32_t> codes_;     // that occur, ascending
  std::vector<std::uint32_t> bounds_;    // F_0 ... F_m
  std::vector<std::uint32_t> first_of_;  // the share that each bucket of quantiles begins in
  int shift_;
};

}  // namespace wkmeans
