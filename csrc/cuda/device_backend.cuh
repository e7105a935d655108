#pragma once

#include <cuda_runtime_api.h>
#include <thrust/system/cuda/execution_policy.h>

#include <algorithm>
#include <cstdint>
#include <cub/device/device_radix_sort.cuh>
#include <utility>
#include <vector>

#include "cuda/check.h"
#include "cuda/device_memory.h"
#include "cuda/kernels.cuh"
#include "cuda/primitives.h"

namespace wkmeans::cuda {

// Thrust's own scratch memory, from the same place as ours.
class ScratchAllocator {
public:
  using value_type = char;

  explicit ScratchAllocator(const DeviceMemory& memory) : memory_(&memory) {}
  char* allocate(std::ptrdiff_t size) {
    return static_cast<char*>(memory_->allocate(static_cast<std::size_t>(size)));
  }
  void deallocate(char* memory, std::size_t /*size*/) { memory_->release(memory); }

private:
  const DeviceMemory* memory_;
};

// Arrays and parallel primitives of the current device, queued on one stream.
class DeviceBackend {
public:
  template <class T>
  using Array = DeviceArray<T>;

  DeviceBackend(cudaStream_t stream, const DeviceMemory& memory)
      : stream_(stream), memory_(memory), scratch_(memory) {
    int device = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&n_processors_, cudaDevAttrMultiProcessorCount, device));
  }

  cudaStream_t stream() const { return stream_; }
  const DeviceMemory& memory() const { return memory_; }

  template <class T>
  Array<T> array(std::uint64_t n) {
    return Array<T>(memory_, n);
  }

  template <class T>
  void upload(const std::vector<T>& values, T* to) {
    check(cudaMemcpyAsync(to, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice,
                          stream_));
  }

  // Waits for the stream.
  template <class T>
  std::vector<T> download(const T* from, std::uint64_t n) {
    std::vector<T> values(n);
    check(cudaMemcpyAsync(values.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost, stream_));
    check(cudaStreamSynchronize(stream_));
    return values;
  }

  template <class Function>
  void for_each(std::uint64_t n, const Function& f) {
    if (n > 0) cuda::for_each(policy(), n, f);
  }

  template <class Predicate>
  std::uint64_t select(std::uint64_t n, const Predicate& wanted, std::uint32_t* out) {
    return n > 0 ? cuda::select(policy(), n, wanted, out) : 0;
  }

  // Sorts keys, ascending, and payloads with them, if any; stable. Keys that differ in bits below
  // `first_bit` differ above it too.
  template <class Key>
  void sort(Array<Key>& keys, Array<std::uint32_t>& payloads, int first_bit) {
    constexpr int kLastBit = 8 * static_cast<int>(sizeof(Key));
    const auto n = static_cast<std::int64_t>(keys.size());
    Array<Key> other_keys = array<Key>(keys.size());
    Array<std::uint32_t> other_payloads = array<std::uint32_t>(payloads.size());
    cub::DoubleBuffer<Key> key_buffers(keys.data(), other_keys.data());
    cub::DoubleBuffer<std::uint32_t> payload_buffers(payloads.data(), other_payloads.data());
    with_scratch([&](void* scratch, std::size_t& size) {
      if constexpr (sizeof(Key) == sizeof(std::uint32_t)) {  // wider keys never go alone
        if (payloads.empty()) {
          return cub::DeviceRadixSort::SortKeys(scratch, size, key_buffers, n, first_bit, kLastBit,
                                                stream_);
        }
      }
      return cub::DeviceRadixSort::SortPairs(scratch, size, key_buffers, payload_buffers, n,
                                             first_bit, kLastBit, stream_);
    });
    if (key_buffers.Current() != keys.data()) std::swap(keys, other_keys);
    if (payload_buffers.Current() != payloads.data()) std::swap(payloads, other_payloads);
  }

  template <class Term>
  std::vector<double> tile_sums(std::uint64_t n, const Term& term,
                                const std::vector<double>& table) {
    const std::uint64_t n_tiles = tile_count(n);
    Array<double> on_device = array<double>(table.size());
    if (!table.empty()) upload(table, on_device.data());
    Array<double> sums = array<double>(n_tiles);
    const auto table_size = static_cast<std::uint32_t>(table.size());
    const std::size_t shared = table_size <= kMostSharedTable ? table.size() * sizeof(double) : 0;
    tile_sums_kernel<<<block_count(n_tiles), kTileThreads, shared, stream_>>>(
        term, n, on_device.data(), table_size, sums.data());
    check(cudaGetLastError());
    return download(sums.data(), n_tiles);
  }

  template <class BinOf>
  std::vector<std::uint64_t> histogram(std::uint64_t n, std::uint32_t n_bins, const BinOf& bin_of) {
    Array<unsigned long long> counts = array<unsigned long long>(n_bins);
    check(cudaMemsetAsync(counts.data(), 0, n_bins * sizeof(unsigned long long), stream_));
    const std::uint32_t words = (std::min(n_bins, kBinsPerSlice) + 1) / 2;
    const auto shared = static_cast<int>(words * sizeof(std::uint32_t));
    check(cudaFuncSetAttribute(histogram_kernel<BinOf>,
                               cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    const dim3 grid(block_count(tile_count(n)), slice_count(n_bins));
    histogram_kernel<<<grid, kTileThreads, static_cast<std::size_t>(shared), stream_>>>(
        bin_of, n, n_bins, counts.data());
    check(cudaGetLastError());
    const std::vector<unsigned long long> found = download(counts.data(), n_bins);
    return {found.begin(), found.end()};
  }

private:
  auto policy() { return thrust::cuda::par_nosync(scratch_).on(stream_); }

  // call(memory, size): a function of CUB's, which says how much memory it needs when given none.
  template <class Call>
  void with_scratch(Call&& call) {
    std::size_t size = 0;
    check(call(nullptr, size));
    Array<char> scratch = array<char>(size);
    check(call(scratch.data(), size));
  }

  unsigned block_count(std::uint64_t n_tiles) const {
    constexpr std::uint64_t kBlocksPerProcessor = 8;
    const std::uint64_t most = kBlocksPerProcessor * static_cast<std::uint64_t>(n_processors_);
    return static_cast<unsigned>(std::clamp(n_tiles, std::uint64_t{1}, most));
  }

  cudaStream_t stream_;
  const DeviceMemory& memory_;
  ScratchAllocator scratch_;
  int n_processors_ = 1;
};

}  // namespace wkmeans::cuda
