#pragma once

#include <thrust/sort.h>
#include <thrust/system/cpp/execution_policy.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/device/primitives.h"
#include "cuda/device/tiles.h"

// What DeviceBackend does on a device, on the host: Thrust's C++ system runs the same compositions,
// and loops over blocks and threads stand in for the kernels.
namespace wkmeans::cuda::testing {

class HostBackend {
public:
  template <class T>
  using Array = std::vector<T>;

  template <class T>
  Array<T> array(std::uint64_t n) {
    return Array<T>(n);
  }
  template <class T>
  void upload(const std::vector<T>& values, T* to) {
    std::copy(values.begin(), values.end(), to);
  }
  template <class T>
  std::vector<T> download(const T* from, std::uint64_t n) {
    return {from, from + n};
  }

  template <class Function>
  void for_each(std::uint64_t n, const Function& f) {
    cuda::for_each(thrust::cpp::par, n, f);
  }
  template <class Predicate>
  void select(std::uint64_t n, const Predicate& wanted, std::uint32_t* out) {
    const std::unique_ptr<bool[]> flags(new bool[n]);
    for_each(n, WriteFlag<Predicate>{wanted, flags.get()});
    select_marked(thrust::cpp::par, flags.get(), n, out);
  }

  // By the bits of keys from first_bit on, as the device does it.
  template <class Key>
  void sort(Array<Key>& keys, Array<std::uint32_t>& payloads, int first_bit) {
    const auto by_bits = [first_bit](Key a, Key b) { return (a >> first_bit) < (b >> first_bit); };
    if (payloads.empty()) {
      thrust::stable_sort(thrust::cpp::par, keys.begin(), keys.end(), by_bits);
    } else {
      thrust::stable_sort_by_key(thrust::cpp::par, keys.begin(), keys.end(), payloads.begin(),
                                 by_bits);
    }
  }

  template <class Term>
  std::vector<double> tile_sums(std::uint64_t n, const Term& term,
                                const std::vector<double>& table) {
    std::vector<double> totals;
    std::vector<double> sums(kTileThreads);
    for (std::uint64_t tile = 0; tile < tile_count(n); ++tile) {
      for (int thread = 0; thread < kTileThreads; ++thread) {
        sums[static_cast<std::size_t>(thread)] = thread_sum(
            tile, thread, n, [&](std::uint64_t item) { return term(item, table.data()); });
      }
      for (int width = kTileThreads / 2; width > 0; width /= 2) {
        for (int thread = 0; thread < kTileThreads; ++thread)
          add_from_other_half(sums.data(), thread, width);
      }
      totals.push_back(sums.front());
    }
    return totals;
  }

  template <class BinOf>
  std::vector<std::uint64_t> histogram(std::uint64_t n, std::uint32_t n_bins, const BinOf& bin_of) {
    HistogramCounts counts(n_bins, 0);
    for (std::uint32_t slice = 0; slice < slice_count(n_bins); ++slice)
      count_slice(n, n_bins, slice, bin_of, counts);
    return counts;
  }

private:
  using HistogramCounts = std::vector<std::uint64_t>;

  // One block takes every other tile, a second one the others.
  template <class BinOf>
  static void count_slice(std::uint64_t n, std::uint32_t n_bins, std::uint32_t slice,
                          const BinOf& bin_of, HistogramCounts& counts) {
    constexpr std::uint64_t kBlocks = 2;
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      std::vector<std::uint32_t> words(kBinsPerSlice / 2, 0);
      for (std::uint64_t tile = block; tile < tile_count(n); tile += kBlocks) {
        for (int thread = 0; thread < kTileThreads; ++thread) {
          for (int step = 0; step < kItemsPerThread; ++step) {
            const std::uint64_t item = item_of(tile, thread, step);
            if (item < n) count(bin_of(item), slice, words, counts);
          }
        }
      }
      for (std::uint32_t bin = 0; bin < bins_of_slice(n_bins, slice); ++bin) {
        const PackedCounter at = packed_counter(bin);
        counts[slice * kBinsPerSlice + bin] += count_in(words[at.word], at.shift);
      }
    }
  }

  static void count(std::uint32_t bin, std::uint32_t slice, std::vector<std::uint32_t>& words,
                    HistogramCounts& counts) {
    if (bin / kBinsPerSlice != slice) return;
    const PackedCounter at = packed_counter(bin % kBinsPerSlice);
    const std::uint32_t old = words[at.word];
    words[at.word] += std::uint32_t{1} << at.shift;
    if (!is_carry(count_in(old, at.shift))) return;
    words[at.word] -= kCarry << at.shift;
    counts[bin] += kCarry;
  }
};

}  // namespace wkmeans::cuda::testing
