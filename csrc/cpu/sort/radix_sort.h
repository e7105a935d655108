#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "cpu/base/buffer.h"
#include "math/sort_key.h"

namespace wkmeans {

// A key and the item it belongs to.
template <class Key>
struct Keyed {
  Key key;
  std::uint32_t item;
};

// Stable least-significant-digit radix sort. `spare` is scratch of any size.
template <class Items>
void radix_sort(Items& items, Items& spare) {
  using Item = typename Items::value_type;
  using Key = decltype(Item::key);
  constexpr int kMostDigitBits = 11;
  // Wide digits need fewer passes, narrow ones less bookkeeping where there is little to sort.
  const int digit_bits = items.size() < 2048 ? 8 : kMostDigitBits;
  const std::size_t n_digits = std::size_t{1} << digit_bits;
  const Key mask = static_cast<Key>(n_digits - 1);
  spare.resize(items.size());
  std::uint32_t offsets[std::size_t{1} << kMostDigitBits];

  Key varying = 0;  // bits in which any key differs: constant digits need no pass
  for (const Item& item : items) varying |= item.key ^ items.front().key;

  for (int shift = 0; shift < static_cast<int>(sizeof(Key) * 8); shift += digit_bits) {
    if (((varying >> shift) & mask) == 0) continue;
    std::fill(offsets, offsets + n_digits, 0u);
    for (const Item& item : items) ++offsets[(item.key >> shift) & mask];
    std::uint32_t total = 0;
    for (std::size_t digit = 0; digit < n_digits; ++digit)
      total += std::exchange(offsets[digit], total);
    for (const Item& item : items) spare[offsets[(item.key >> shift) & mask]++] = item;
    items.swap(spare);
  }
}

// The same stable order in less time, for up to kMostFew items on one thread.
constexpr std::size_t kMostFew = std::size_t{1} << 15;
void sort_few(Buffer<Keyed<std::uint32_t>>& items, Buffer<Keyed<std::uint32_t>>& spare);

}  // namespace wkmeans
