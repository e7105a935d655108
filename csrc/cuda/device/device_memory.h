#pragma once

#include <cstddef>
#include <functional>
#include <utility>

namespace wkmeans::cuda {

// Where device memory comes from: the caller's allocator, so that it shares one pool with whatever
// else the caller keeps on the device. Memory that is given back may be handed out again for work
// on the same stream at once.
class DeviceMemory {
public:
  using Allocate = std::function<void*(std::size_t)>;
  using Release = std::function<void(void*)>;

  DeviceMemory(Allocate allocate, Release release)
      : allocate_(std::move(allocate)), release_(std::move(release)) {}

  void* allocate(std::size_t size) const { return allocate_(size); }
  void release(void* memory) const { release_(memory); }

private:
  Allocate allocate_;
  Release release_;
};

// An array of device memory; uninitialised.
template <class T>
class DeviceArray {
public:
  DeviceArray(const DeviceMemory& memory, std::size_t size)
      : memory_(&memory),
        data_(size > 0 ? static_cast<T*>(memory.allocate(size * sizeof(T))) : nullptr),
        size_(size) {}
  DeviceArray(DeviceArray&& other) noexcept
      : memory_(other.memory_),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() {
    if (data_) memory_->release(data_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

private:
  const DeviceMemory* memory_;
  T* data_;
  std::size_t size_;
};

}  // namespace wkmeans::cuda
