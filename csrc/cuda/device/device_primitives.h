#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/device/device_memory.h"

// The device's primitives that take the compiler long, compiled once.
namespace wkmeans::cuda {

struct Queue {
  cudaStream_t stream;
  const DeviceMemory& memory;
};

// Sorts keys, ascending and stably, by their bits from `first_bit` on.
void sort_keys(const Queue& queue, DeviceArray<std::uint32_t>& keys, int first_bit);

// Their payloads with them.
void sort_pairs(const Queue& queue, DeviceArray<std::uint32_t>& keys,
                DeviceArray<std::uint32_t>& payloads, int first_bit);
void sort_pairs(const Queue& queue, DeviceArray<std::uint64_t>& keys,
                DeviceArray<std::uint32_t>& payloads, int first_bit);

// As primitives.h has it.
void select_marked(const Queue& queue, const bool* flags, std::uint64_t n, std::uint32_t* out);

}  // namespace wkmeans::cuda
