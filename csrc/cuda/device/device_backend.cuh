#pragma once

#include <cuda_runtime_api.h>
#include <thrust/system/cuda/execution_policy.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/base/interrupt.h"
#include "cuda/device/check.h"
#include "cuda/device/device_primitives.h"
#include "cuda/device/kernels.cuh"
#include "cuda/device/launch.h"
#include "cuda/device/primitives.h"
#include "cuda/device/scratch_allocator.h"

namespace wkmeans::cuda {

// Arrays and parallel primitives of the current device, queued on one stream.
class DeviceBackend {
  auto policy() { return thrust::cuda::par_nosync(scratch_).on(queue_.stream); }

public:
  template <class T>
  using Array = DeviceArray<T>;

  explicit DeviceBackend(const Queue& queue)
      : queue_(queue), scratch_(queue.memory), n_processors_(processor_count()) {
    cudaGetLastError();  // an error that others left, which later checks would take for ours
  }
  DeviceBackend(const DeviceBackend&) = delete;
  DeviceBackend& operator=(const DeviceBackend&) = delete;
  ~DeviceBackend() {
    if (!uploads_.empty()) cudaStreamSynchronize(queue_.stream);  // an exception passes
  }

  // Before the backend goes: nothing that it holds is needed any longer.
  void finish() {
    if (!uploads_.empty()) wait();
  }

  // Between long pieces of work: waits for the stream, and hears an interrupt.
  void pause() { wait(); }

  cudaStream_t stream() const { return queue_.stream; }

  template <class T>
  Array<T> array(std::uint64_t n) {
    return Array<T>(queue_.memory, n);
  }

  // The copy may be made at any time before the stream has been waited for: until then the backend
  // holds the values.
  template <class T>
  void upload(std::vector<T> values, T* to) {
    if (values.empty()) return;
    const auto held = std::make_shared<std::vector<T>>(std::move(values));
    uploads_.push_back(held);
    check(cudaMemcpyAsync(to, held->data(), held->size() * sizeof(T), cudaMemcpyHostToDevice,
                          queue_.stream));
  }

  // Waits for the stream.
  template <class T>
  std::vector<T> download(const T* from, std::uint64_t n) {
    std::vector<T> values(n);
    if (n == 0) return values;
    check(
        cudaMemcpyAsync(values.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost, queue_.stream));
    wait();
    return values;
  }

  template <class Function>
  void for_each(std::uint64_t n, const Function& f) {
    if (n > 0) cuda::for_each(policy(), n, f);
  }

  template <class Predicate>
  void select(std::uint64_t n, const Predicate& wanted, std::uint32_t* out) {
    Array<bool> flags = array<bool>(n);
    for_each(n, WriteFlag<Predicate>{wanted, flags.data()});
    select_marked(queue_, flags.data(), n, out);
  }

  // Keys that differ in bits below `first_bit` differ above it too.
  template <class Key>
  void sort(Array<Key>& keys, Array<std::uint32_t>& payloads, int first_bit) {
    if constexpr (sizeof(Key) == sizeof(std::uint32_t)) {  // wider keys never go alone
      if (payloads.empty()) return sort_keys(queue_, keys, first_bit);
    }
    sort_pairs(queue_, keys, payloads, first_bit);
  }

  template <class Term>
  std::vector<double> tile_sums(std::uint64_t n, const Term& term,
                                const std::vector<double>& table) {
    const std::uint64_t n_tiles = tile_count(n);
    Array<double> on_device = array<double>(table.size());
    upload(table, on_device.data());
    Array<double> sums = array<double>(n_tiles);
    const auto table_size = static_cast<std::uint32_t>(table.size());
    launch(tile_sums_kernel<Term>, block_count(n_tiles), kTileThreads,
           tile_sums_shared_bytes(table.size()), queue_.stream, term, n, on_device.data(),
           table_size, sums.data());
    return download(sums.data(), n_tiles);
  }

  template <class BinOf>
  std::vector<std::uint64_t> histogram(std::uint64_t n, std::uint32_t n_bins, const BinOf& bin_of) {
    Array<unsigned long long> counts = array<unsigned long long>(n_bins);
    check(cudaMemsetAsync(counts.data(), 0, n_bins * sizeof(unsigned long long), queue_.stream));
    const std::uint32_t words = (std::min(n_bins, kBinsPerSlice) + 1) / 2;
    const std::size_t shared = words * sizeof(std::uint32_t);
    allow_shared_bytes(histogram_kernel<BinOf>, shared);
    launch(histogram_kernel<BinOf>, dim3(block_count(tile_count(n)), slice_count(n_bins)),
           kTileThreads, shared, queue_.stream, bin_of, n, n_bins, counts.data());
    const std::vector<unsigned long long> found = download(counts.data(), n_bins);
    return {found.begin(), found.end()};
  }

private:
  void wait() {
    check(cudaStreamSynchronize(queue_.stream));
    uploads_.clear();
    stop_if_interrupted();
  }

  unsigned block_count(std::uint64_t n_tiles) const {
    constexpr std::uint64_t kBlocksPerProcessor = 8;
    const std::uint64_t most = kBlocksPerProcessor * static_cast<std::uint64_t>(n_processors_);
    return static_cast<unsigned>(std::clamp(n_tiles, std::uint64_t{1}, most));
  }

  Queue queue_;
  ScratchAllocator scratch_;
  int n_processors_;
  std::vector<std::shared_ptr<const void>> uploads_;  // since the stream was waited for
};

}  // namespace wkmeans::cuda
