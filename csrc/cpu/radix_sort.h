#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "cpu/parallel.h"
#include "math/sort_key.h"

namespace wkmeans {

// A key and the item it belongs to.
template <class Key>
struct Keyed {
  Key key;
  std::uint32_t item;
};

// Stable least-significant-digit radix sort. A stable order is unique, so the result does not
// depend on how many segments work on it. `spare` is scratch of any size.
template <class Items>
void radix_sort(Items& items, Items& spare, const Parallel& parallel) {
  using Item = typename Items::value_type;
  using Key = decltype(Item::key);
  const auto n = static_cast<std::int64_t>(items.size());
  // Wide digits need fewer passes, narrow ones less bookkeeping where there is little to sort.
  const int digit_bits = n < 2048 ? 8 : 11;
  const std::size_t n_digits = std::size_t{1} << digit_bits;
  const Key mask = static_cast<Key>(n_digits - 1);
  const std::int64_t n_segments = n < kChunk ? 1 : parallel.n_threads();
  const auto segment_begin = [&](std::int64_t segment) { return n * segment / n_segments; };
  spare.resize(items.size());
  std::vector<std::uint32_t> offsets(n_digits * static_cast<std::size_t>(n_segments));

  Key varying = 0;  // bits in which any key differs: constant digits need no pass
  for (const Item& item : items) varying |= item.key ^ items.front().key;

  for (int shift = 0; shift < static_cast<int>(sizeof(Key) * 8); shift += digit_bits) {
    if (((varying >> shift) & mask) == 0) continue;
    std::fill(offsets.begin(), offsets.end(), 0u);
    parallel.run(n_segments, [&](std::int64_t segment) {
      std::uint32_t* count = offsets.data() + static_cast<std::size_t>(segment) * n_digits;
      for (std::int64_t i = segment_begin(segment); i < segment_begin(segment + 1); ++i) {
        ++count[(items[static_cast<std::size_t>(i)].key >> shift) & mask];
      }
    });
    std::uint32_t total = 0;
    for (std::size_t digit = 0; digit < n_digits; ++digit) {
      for (std::int64_t segment = 0; segment < n_segments; ++segment) {
        std::uint32_t& offset = offsets[static_cast<std::size_t>(segment) * n_digits + digit];
        total += std::exchange(offset, total);
      }
    }
    parallel.run(n_segments, [&](std::int64_t segment) {
      std::uint32_t* offset = offsets.data() + static_cast<std::size_t>(segment) * n_digits;
      for (std::int64_t i = segment_begin(segment); i < segment_begin(segment + 1); ++i) {
        const Item item = items[static_cast<std::size_t>(i)];
        spare[offset[(item.key >> shift) & mask]++] = item;
      }
    });
    items.swap(spare);
  }
}

}  // namespace wkmeans
