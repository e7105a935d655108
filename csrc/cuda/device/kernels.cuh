#pragma once

#include <cstdint>

#include "cuda/items/tiles.h"

// The kernels written by hand: thin loops over the functions of tiles.h.
namespace wkmeans::cuda {

// Of one block's shared memory: room for its threads' sums and for most codebooks.
constexpr std::uint32_t kMostSharedTable = 4096;

// out[tile]: the terms of the tile's items, added up in the order of tiles.h whatever the number of
// blocks. Terms may look values up in `table`, which is read from shared memory where it fits.
template <class Term>
__global__ void __launch_bounds__(kTileThreads)
    tile_sums_kernel(Term term, std::uint64_t n, const double* table, std::uint32_t table_size,
                     double* out) {
  __shared__ double sums[kTileThreads];
  extern __shared__ double shared_table[];
  const int thread = static_cast<int>(threadIdx.x);
  const bool is_shared = table_size <= kMostSharedTable;
  if (is_shared) {
    for (std::uint32_t i = threadIdx.x; i < table_size; i += kTileThreads)
      shared_table[i] = table[i];
    __syncthreads();
  }
  const double* nearest_table = is_shared ? shared_table : table;
  for (std::uint64_t tile = blockIdx.x; tile < tile_count(n); tile += gridDim.x) {
    sums[thread] =
        thread_sum(tile, thread, n, [&](std::uint64_t item) { return term(item, nearest_table); });
    for (int width = kTileThreads / 2; width > 0; width /= 2) {
      __syncthreads();
      add_from_other_half(sums, thread, width);
    }
    if (thread == 0) out[tile] = sums[0];
    __syncthreads();  // before sums are written again
  }
}

// counts[bin] += how many items fall into each bin; blockIdx.y is the slice of bins that a block
// counts. Counts are integers: their order shows in no result.
template <class BinOf>
__global__ void __launch_bounds__(kTileThreads)
    histogram_kernel(BinOf bin_of, std::uint64_t n, std::uint32_t n_bins,
                     unsigned long long* counts) {
  extern __shared__ std::uint32_t counters[];
  const std::uint32_t slice = blockIdx.y;
  const std::uint32_t slice_bins = bins_of_slice(n_bins, slice);
  unsigned long long* slice_counts = counts + std::uint64_t{slice} * kBinsPerSlice;
  for (std::uint32_t word = threadIdx.x; word < (slice_bins + 1) / 2; word += kTileThreads)
    counters[word] = 0;
  __syncthreads();
  for (std::uint64_t tile = blockIdx.x; tile < tile_count(n); tile += gridDim.x) {
    WKM_DEVICE_UNROLL(4)
    for (int step = 0; step < kItemsPerThread; ++step) {
      const std::uint64_t item = item_of(tile, static_cast<int>(threadIdx.x), step);
      if (item >= n) break;
      const std::uint32_t bin = bin_of(item);
      if (bin / kBinsPerSlice != slice) continue;
      const PackedCounter at = packed_counter(bin % kBinsPerSlice);
      const std::uint32_t old = atomicAdd(&counters[at.word], std::uint32_t{1} << at.shift);
      if (!is_carry(count_in(old, at.shift))) continue;
      atomicSub(&counters[at.word], kCarry << at.shift);
      atomicAdd(&slice_counts[bin % kBinsPerSlice], static_cast<unsigned long long>(kCarry));
    }
    __syncthreads();  // every carry has been taken
  }
  for (std::uint32_t bin = threadIdx.x; bin < slice_bins; bin += kTileThreads) {
    const PackedCounter at = packed_counter(bin);
    const std::uint32_t count = count_in(counters[at.word], at.shift);
    if (count > 0) atomicAdd(&slice_counts[bin], static_cast<unsigned long long>(count));
  }
}

}  // namespace wkmeans::cuda
