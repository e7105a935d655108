#pragma once

#include <cstdint>

#include "cuda/device/atomic.h"
#include "cuda/device/launch.h"
#include "cuda/device/tiles.h"

// The kernels written by hand: thin loops over the functions of tiles.h.
namespace wkmeans::cuda {

// Most codebooks fit a block's shared memory, behind the sums of its threads.
constexpr std::uint32_t kMostSharedTable = 4096;

inline std::size_t tile_sums_shared_bytes(std::size_t table_size) {
  const std::size_t shared_table = table_size <= kMostSharedTable ? table_size : 0;
  return (kTileThreads + shared_table) * sizeof(double);
}

// out[tile]: the terms of the tile's items, added up in the order of tiles.h whatever the number of
// blocks. Terms may look values up in `table`, which is read from shared memory where it fits.
template <class Term>
WKM_KERNEL(kTileThreads)
tile_sums_kernel(Term term, std::uint64_t n, const double* table, std::uint32_t table_size,
                 double* out) {
  double* const sums = reinterpret_cast<double*>(shared_memory());
  double* const shared_table = sums + kTileThreads;
  const Place at = place();
  const int thread = static_cast<int>(at.thread);
  const bool is_shared = table_size <= kMostSharedTable;
  if (is_shared) {
    for (std::uint32_t i = at.thread; i < table_size; i += kTileThreads) shared_table[i] = table[i];
    WKM_BARRIER();
  }
  const double* nearest_table = is_shared ? shared_table : table;
  for (std::uint64_t tile = at.block; tile < tile_count(n); tile += at.n_blocks) {
    sums[thread] =
        thread_sum(tile, thread, n, [&](std::uint64_t item) { return term(item, nearest_table); });
    for (int width = kTileThreads / 2; width > 0; width /= 2) {
      WKM_BARRIER();
      add_from_other_half(sums, thread, width);
    }
    if (thread == 0) out[tile] = sums[0];
    WKM_BARRIER();  // before sums are written again
  }
}

// counts[bin] += how many items fall into each bin; a block counts one slice of the bins. Counts
// are integers: their order shows in no result.
template <class BinOf>
WKM_KERNEL(kTileThreads)
histogram_kernel(BinOf bin_of, std::uint64_t n, std::uint32_t n_bins, unsigned long long* counts) {
  auto* const counters = reinterpret_cast<std::uint32_t*>(shared_memory());
  const Place here = place();
  const std::uint32_t slice_bins = bins_of_slice(n_bins, here.slice);
  unsigned long long* slice_counts = counts + std::uint64_t{here.slice} * kBinsPerSlice;
  for (std::uint32_t word = here.thread; word < (slice_bins + 1) / 2; word += kTileThreads)
    counters[word] = 0;
  WKM_BARRIER();
  for (std::uint64_t tile = here.block; tile < tile_count(n); tile += here.n_blocks) {
    WKM_DEVICE_UNROLL(4)
    for (int step = 0; step < kItemsPerThread; ++step) {
      const std::uint64_t item = item_of(tile, static_cast<int>(here.thread), step);
      if (item >= n) break;
      const std::uint32_t bin = bin_of(item);
      if (bin / kBinsPerSlice != here.slice) continue;
      const PackedCounter at = packed_counter(bin % kBinsPerSlice);
      const std::uint32_t old = add(&counters[at.word], std::uint32_t{1} << at.shift);
      if (!is_carry(count_in(old, at.shift))) continue;
      add(&counters[at.word], 0u - (kCarry << at.shift));
      add(&slice_counts[bin % kBinsPerSlice], static_cast<unsigned long long>(kCarry));
    }
    WKM_BARRIER();  // every carry has been taken
  }
  for (std::uint32_t bin = here.thread; bin < slice_bins; bin += kTileThreads) {
    const PackedCounter at = packed_counter(bin);
    const std::uint32_t count = count_in(counters[at.word], at.shift);
    if (count > 0) add(&slice_counts[bin], static_cast<unsigned long long>(count));
  }
}

}  // namespace wkmeans::cuda
