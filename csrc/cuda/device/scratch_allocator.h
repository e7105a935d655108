#pragma once

#include <cstddef>
#include <map>

#include "cuda/device/device_memory.h"

namespace wkmeans::cuda {

// Thrust's own scratch memory, from the same place as ours.
class ScratchAllocator {
public:
  using value_type = char;

  explicit ScratchAllocator(const DeviceMemory& memory) : memory_(&memory) {}
  char* allocate(std::ptrdiff_t size) {
    DeviceBytes bytes = memory_->allocate(static_cast<std::size_t>(size));
    auto* const address = static_cast<char*>(bytes.get());
    held_.emplace(address, std::move(bytes));
    return address;
  }
  void deallocate(char* address, std::size_t /*size*/) { held_.erase(address); }

private:
  const DeviceMemory* memory_;
  std::map<char*, DeviceBytes> held_;
};

}  // namespace wkmeans::cuda
