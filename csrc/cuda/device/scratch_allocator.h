#pragma once

#include <cstddef>

#include "cuda/device/device_memory.h"

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

}  // namespace wkmeans::cuda
