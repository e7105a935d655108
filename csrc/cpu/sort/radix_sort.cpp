#include "cpu/sort/radix_sort.h"

namespace wkmeans {
namespace {

using Items = Buffer<Keyed<std::uint32_t>>;

constexpr int kMostDigitBits = 11;

int bit_width(std::uint32_t bits) {
  int width = 0;
  for (; bits != 0; bits >>= 1) ++width;
  return width;
}

struct Counts {
  std::uint32_t low[std::size_t{1} << kMostDigitBits];
  std::uint32_t high[std::size_t{1} << kMostDigitBits];
};

void sum_up(std::uint32_t* counts, std::size_t n_digits) {
  std::uint32_t total = 0;
  for (std::size_t digit = 0; digit < n_digits; ++digit) {
    const std::uint32_t count = counts[digit];
    counts[digit] = total;
    total += count;
  }
}

// Whether few swaps of neighbours were enough.
bool insert_all(Items& items) {
  const std::size_t n = items.size();
  std::size_t n_moves = 8 * n;
  for (std::size_t i = 1; i < n; ++i) {
    const Keyed<std::uint32_t> item = items[i];
    if (items[i - 1].key <= item.key) continue;
    std::size_t at = i;
    for (; at > 0 && items[at - 1].key > item.key; --at) {
      items[at] = items[at - 1];
      if (--n_moves == 0) {
        items[at - 1] = item;
        return false;
      }
    }
    items[at] = item;
  }
  return true;
}

}  // namespace

// Two digits order the leading bits that vary; the few neighbours that agree in those are inserted.
void sort_few(Items& items, Items& spare) {
  const std::size_t n = items.size();
  std::uint32_t varying = 0;
  for (const auto& item : items) varying |= item.key ^ items.front().key;
  const int digit_bits = n < 1024 ? 9 : kMostDigitBits;
  const int n_varying = bit_width(varying);
  const int shift = n_varying > 2 * digit_bits ? n_varying - 2 * digit_bits : 0;
  const std::size_t n_digits = std::size_t{1} << digit_bits;
  const auto mask = static_cast<std::uint32_t>(n_digits - 1);
  spare.resize(n);
  Counts counts;
  for (std::size_t digit = 0; digit < n_digits; ++digit) counts.low[digit] = counts.high[digit] = 0;
  for (const auto& item : items) {
    const std::uint32_t key = item.key >> shift;
    ++counts.low[key & mask];
    ++counts.high[(key >> digit_bits) & mask];
  }
  sum_up(counts.low, n_digits);
  sum_up(counts.high, n_digits);
  for (const auto& item : items) spare[counts.low[(item.key >> shift) & mask]++] = item;
  for (const auto& item : spare) {
    items[counts.high[(item.key >> shift >> digit_bits) & mask]++] = item;
  }
  // Equal keys have kept their order, so that sorting what is left of it sorts it stably.
  if (!insert_all(items)) radix_sort(items, spare);
}

}  // namespace wkmeans
