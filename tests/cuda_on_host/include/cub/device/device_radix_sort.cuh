#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "cuda_on_host/runtime.h"

// CUB's radix sort by the host. As under CUDA it is called twice, either of two buffers holds the
// result, and the other one and the scratch memory hold garbage.
namespace cub {

template <class Value>
struct DoubleBuffer {
  DoubleBuffer(Value* current, Value* alternate) : d_buffers{current, alternate} {}
  Value* Current() { return d_buffers[selector]; }
  Value* Alternate() { return d_buffers[selector ^ 1]; }

  Value* d_buffers[2];
  int selector = 0;
};

class DeviceRadixSort {
  using Order = std::vector<std::uint32_t>;
  using Move = std::function<void(const Order&)>;

public:
  template <class Key, class Value>
  static cudaError_t SortPairs(void* scratch, std::size_t& scratch_size, DoubleBuffer<Key>& keys,
                               DoubleBuffer<Value>& values, std::int64_t n, int begin_bit,
                               int end_bit, cudaStream_t stream) {
    if (!scratch) return ask_for(n, scratch_size);
    const bool flips = draw();
    const Move move_keys = mover(keys, n, flips);
    const Move move_values = mover(values, n, flips);
    const Key* const unsorted = keys.d_buffers[keys.selector ^ (flips ? 1 : 0)];
    return enqueue(scratch, scratch_size, n, stream, [=] {
      const Order order = order_of(unsorted, n, begin_bit, end_bit);
      move_values(order);
      move_keys(order);
    });
  }

  template <class Key>
  static cudaError_t SortKeys(void* scratch, std::size_t& scratch_size, DoubleBuffer<Key>& keys,
                              std::int64_t n, int begin_bit, int end_bit, cudaStream_t stream) {
    if (!scratch) return ask_for(n, scratch_size);
    const bool flips = draw();
    const Move move_keys = mover(keys, n, flips);
    const Key* const unsorted = keys.d_buffers[keys.selector ^ (flips ? 1 : 0)];
    return enqueue(scratch, scratch_size, n, stream,
                   [=] { move_keys(order_of(unsorted, n, begin_bit, end_bit)); });
  }

private:
  static std::size_t scratch_of(std::int64_t n) { return 1 + static_cast<std::size_t>(n) / 3; }

  static cudaError_t ask_for(std::int64_t n, std::size_t& scratch_size) {
    scratch_size = scratch_of(n);
    return cudaSuccess;
  }

  static bool draw() {
    static unsigned count = 0;
    return ++count % 3 != 0;
  }

  // What brings a buffer into an order that is not known yet.
  template <class Value>
  static Move mover(DoubleBuffer<Value>& buffer, std::int64_t n, bool flips) {
    Value* const from = buffer.Current();
    if (flips) buffer.selector ^= 1;
    Value* const to = buffer.Current();
    Value* const other = buffer.Alternate();
    return [=](const Order& order) {
      std::vector<Value> moved;
      for (const std::uint32_t i : order) moved.push_back(from[i]);
      wkmeans::cuda::on_host::fill_with_garbage(other, static_cast<std::size_t>(n) * sizeof(Value));
      std::copy(moved.begin(), moved.end(), to);
    };
  }

  template <class Key>
  static Order order_of(const Key* keys, std::int64_t n, int begin_bit, int end_bit) {
    const int above = 8 * static_cast<int>(sizeof(Key)) - end_bit;
    const auto digits = [=](std::uint32_t i) {
      return static_cast<Key>(static_cast<Key>(keys[i] << above) >> above) >> begin_bit;
    };
    Order order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return digits(a) < digits(b); });
    return order;
  }

  template <class Work>
  static cudaError_t enqueue(void* scratch, std::size_t scratch_size, std::int64_t n,
                             cudaStream_t stream, const Work& work) {
    namespace on_host = wkmeans::cuda::on_host;
    if (on_host::fails()) return on_host::leave_error(cudaErrorInvalidValue);
    if (scratch_size < scratch_of(n)) return cudaErrorInvalidValue;
    on_host::enqueue(stream, [=] {
      work();
      on_host::fill_with_garbage(scratch, scratch_size);
    });
    return cudaPeekAtLastError();  // as CUB's, whoever left it
  }
};

}  // namespace cub
