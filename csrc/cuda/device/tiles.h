#pragma once

#include <cstdint>

#include "math/platform.h"

// Which items a thread of a block takes, and in which order their values are added: the kernels and
// the loops that stand in for them on the host follow the same functions, so they give the same
// bits.
namespace wkmeans::cuda {

constexpr int kTileThreads = 256;
constexpr int kItemsPerThread = 16;
constexpr std::uint64_t kTile = std::uint64_t{kTileThreads} * kItemsPerThread;

WKM_HD std::uint64_t tile_count(std::uint64_t n) { return (n + kTile - 1) / kTile; }

// Neighbouring threads take neighbouring items, so that a warp reads whole lines.
WKM_HD std::uint64_t item_of(std::uint64_t tile, int thread, int step) {
  return tile * kTile + static_cast<std::uint64_t>(step * kTileThreads + thread);
}

// What one thread adds up of its tile: `term(item)` of each item below n, in order of its steps.
template <class Term>
WKM_HD double thread_sum(std::uint64_t tile, int thread, std::uint64_t n, const Term& term) {
  double sum = 0.0;
  WKM_DEVICE_UNROLL(4)  // loads in flight
  for (int step = 0; step < kItemsPerThread; ++step) {
    const std::uint64_t item = item_of(tile, thread, step);
    if (item < n) sum += term(item);
  }
  return sum;
}

// One thread's part in one step of the tree that adds up its block's sums: first width
// kTileThreads / 2, then half of it, and so on; threads meet between steps.
WKM_HD void add_from_other_half(double* sums, int thread, int width) {
  if (thread < width) sums[thread] += sums[thread + width];
}

// How many roundings lie one after another between a term and the sum of its tile, at most.
constexpr double kTileRoundings = kItemsPerThread + 8.0;

// Counters of a histogram are 16 bits wide, two in a word of shared memory: one that reaches
// kCarry gives so many up to its counter in global memory. Between two meetings of a block's
// threads at most kTile counts are added, so none overflows before its carry is taken.
constexpr std::uint32_t kCarry = 0x8000;
static_assert(kCarry + kTile <= 0xffff, "a counter may overflow before its carry is taken");
constexpr std::uint32_t kBinsPerSlice = 1 << 15;  // of one block: 64 KiB, which every device has

struct PackedCounter {
  std::uint32_t word;
  int shift;
};
WKM_HD PackedCounter packed_counter(std::uint32_t bin) { return {bin / 2, bin % 2 == 0 ? 0 : 16}; }
WKM_HD std::uint32_t count_in(std::uint32_t word, int shift) { return (word >> shift) & 0xffffu; }

// Whether the count that found `old` in its counter is the one that takes the carry.
WKM_HD bool is_carry(std::uint32_t old) { return old == kCarry - 1; }

// A bin beyond the last counts nothing.
constexpr std::uint32_t kNoBin = 0xffffffff;

WKM_HD std::uint32_t slice_count(std::uint32_t n_bins) {
  return (n_bins + kBinsPerSlice - 1) / kBinsPerSlice;
}
WKM_HD std::uint32_t bins_of_slice(std::uint32_t n_bins, std::uint32_t slice) {
  const std::uint32_t left = n_bins - slice * kBinsPerSlice;
  return left < kBinsPerSlice ? left : kBinsPerSlice;
}

}  // namespace wkmeans::cuda
