#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace wkmeans {

// Memory of large arrays: left uninitialised, since every element is written before it is read, and
// on huge pages where the system has them, since first touching it page by page would cost as much
// as some of the passes over it.
template <class T>
struct BufferAllocator {
  using value_type = T;

  BufferAllocator() = default;
  template <class U>
  explicit BufferAllocator(const BufferAllocator<U>& /*other*/) {}

  T* allocate(std::size_t n) {
    const std::size_t size = n * sizeof(T);
    if (size < kHuge) return static_cast<T*>(::operator new(size));
    void* memory = ::operator new(size, std::align_val_t{kHugePage});
#if defined(__linux__)
    madvise(memory, size, MADV_HUGEPAGE);  // advice: refused, it changes nothing
#endif
    return static_cast<T*>(memory);
  }

  void deallocate(T* memory, std::size_t n) {
    if (n * sizeof(T) < kHuge) {
      ::operator delete(memory);
    } else {
      ::operator delete(memory, std::align_val_t{kHugePage});
    }
  }

  template <class U>
  void construct(U* at) {
    ::new (static_cast<void*>(at)) U;
  }
  template <class U, class... Args>
  void construct(U* at, Args&&... args) {
    ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
  }

  bool operator==(const BufferAllocator& /*other*/) const { return true; }
  bool operator!=(const BufferAllocator& /*other*/) const { return false; }

private:
  static constexpr std::size_t kHugePage = std::size_t{1} << 21;
  static constexpr std::size_t kHuge = 2 * kHugePage;
};

template <class T>
using Buffer = std::vector<T, BufferAllocator<T>>;

}  // namespace wkmeans
