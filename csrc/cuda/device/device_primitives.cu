#include "cuda/device/device_primitives.h"

#include <thrust/system/cuda/execution_policy.h>

#include <cub/device/device_radix_sort.cuh>
#include <utility>

#include "cuda/device/check.h"
#include "cuda/device/primitives.h"
#include "cuda/device/scratch_allocator.h"

namespace wkmeans::cuda {
namespace {

// call(memory, size): a function of CUB's, which says how much memory it needs when given none.
template <class Call>
void with_scratch(const Queue& queue, Call&& call) {
  std::size_t size = 0;
  check(call(nullptr, size));
  DeviceArray<char> scratch(queue.memory, size);
  check(call(scratch.data(), size));
}

template <class Key>
void sort_pairs_of(const Queue& queue, DeviceArray<Key>& keys, DeviceArray<std::uint32_t>& payloads,
                   int first_bit) {
  constexpr int kLastBit = 8 * static_cast<int>(sizeof(Key));
  DeviceArray<Key> other_keys(queue.memory, keys.size());
  DeviceArray<std::uint32_t> other_payloads(queue.memory, payloads.size());
  cub::DoubleBuffer<Key> key_buffers(keys.data(), other_keys.data());
  cub::DoubleBuffer<std::uint32_t> payload_buffers(payloads.data(), other_payloads.data());
  with_scratch(queue, [&](void* scratch, std::size_t& size) {
    return cub::DeviceRadixSort::SortPairs(scratch, size, key_buffers, payload_buffers,
                                           static_cast<std::int64_t>(keys.size()), first_bit,
                                           kLastBit, queue.stream);
  });
  if (key_buffers.Current() != keys.data()) std::swap(keys, other_keys);
  if (payload_buffers.Current() != payloads.data()) std::swap(payloads, other_payloads);
}

}  // namespace

void sort_keys(const Queue& queue, DeviceArray<std::uint32_t>& keys, int first_bit) {
  constexpr int kLastBit = 32;
  DeviceArray<std::uint32_t> other(queue.memory, keys.size());
  cub::DoubleBuffer<std::uint32_t> buffers(keys.data(), other.data());
  with_scratch(queue, [&](void* scratch, std::size_t& size) {
    return cub::DeviceRadixSort::SortKeys(scratch, size, buffers,
                                          static_cast<std::int64_t>(keys.size()), first_bit,
                                          kLastBit, queue.stream);
  });
  if (buffers.Current() != keys.data()) std::swap(keys, other);
}

void sort_pairs(const Queue& queue, DeviceArray<std::uint32_t>& keys,
                DeviceArray<std::uint32_t>& payloads, int first_bit) {
  sort_pairs_of(queue, keys, payloads, first_bit);
}

void sort_pairs(const Queue& queue, DeviceArray<std::uint64_t>& keys,
                DeviceArray<std::uint32_t>& payloads, int first_bit) {
  sort_pairs_of(queue, keys, payloads, first_bit);
}

void select_marked(const Queue& queue, const bool* flags, std::uint64_t n, std::uint32_t* out) {
  ScratchAllocator scratch(queue.memory);
  select_marked(thrust::cuda::par_nosync(scratch).on(queue.stream), flags, n, out);
}

}  // namespace wkmeans::cuda
