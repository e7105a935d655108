#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace wkmeans::cuda {

// Device memory that is given back once nothing holds it.
using DeviceBytes = std::shared_ptr<void>;

// Where device memory comes from: the caller's allocator, so that it shares one pool with whatever
// else the caller keeps on the device. Memory that is given back may be handed out again for work
// on the same stream at once.
class DeviceMemory {
public:
  using Allocate = std::function<DeviceBytes(std::size_t)>;

  explicit DeviceMemory(Allocate allocate) : allocate_(std::move(allocate)) {}

  DeviceBytes allocate(std::size_t size) const { return allocate_(size); }

private:
  Allocate allocate_;
};

// An array of device memory; uninitialised.
template <class T>
class DeviceArray {
public:
  DeviceArray(const DeviceMemory& memory, std::size_t size)
      : bytes_(size > 0 ? memory.allocate(size * sizeof(T)) : nullptr), size_(size) {}
  DeviceArray(DeviceArray&& other) noexcept
      : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    return *this;
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() = default;

  T* data() { return static_cast<T*>(bytes_.get()); }
  const T* data() const { return static_cast<const T*>(bytes_.get()); }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

private:
  DeviceBytes bytes_;
  std::size_t size_;
};

}  // namespace wkmeans::cuda
