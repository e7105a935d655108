#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "cuda_on_host/races.h"
#include "cuda_on_host/runtime.h"

namespace wkmeans::cuda::on_host {
namespace {

constexpr std::size_t kShared = std::size_t{1} << 20;
constexpr std::size_t kArena = std::size_t{1} << 32;
constexpr std::size_t kGuard = 64;  // behind every allocation, to be found as it was left
constexpr unsigned char kGarbage = 0xa5;

// Pieces of one mapping, each of a power of two, kept for the next of that size.
class Arena {
public:
  Arena() {
    void* const mapped = mmap(nullptr, kArena, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<std::byte*>(mapped);
  }

  std::byte* begin() const { return begin_; }
  std::size_t n_allocated() const { return sizes_.size(); }

  void* allocate(std::size_t size) {
    const std::size_t capacity = capacity_of(size);
    std::vector<std::byte*>& spare = spare_[capacity];
    if (spare.empty()) {
      if (used_ + capacity > kArena) return nullptr;
      spare.push_back(begin_ + used_);
      used_ += capacity;
    }
    std::byte* const memory = spare.back();
    spare.pop_back();
    sizes_[memory] = size;
    fill_with_garbage(memory, capacity);
    return memory;
  }

  // What is still queued may use it: it is given back in the stream's order.
  std::size_t forget(std::byte* memory) {
    const auto place = sizes_.find(memory);
    if (place == sizes_.end()) {
      find("release of memory that is not allocated");
      return 0;
    }
    const std::size_t size = place->second;
    sizes_.erase(place);
    return size;
  }

  void give_back(std::byte* memory, std::size_t size) {
    const std::size_t capacity = capacity_of(size);
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (memory[size + i] != std::byte{kGarbage}) {
        find("a write beyond the end of an allocation of " + std::to_string(size) + " bytes");
        break;
      }
    }
    fill_with_garbage(memory, capacity);
    spare_[capacity].push_back(memory);
  }

private:
  static std::size_t capacity_of(std::size_t size) {
    std::size_t capacity = 512;
    while (capacity < size + kGuard) capacity *= 2;
    return capacity;
  }

  std::byte* begin_ = nullptr;
  std::size_t used_ = kShared;
  std::map<std::byte*, std::size_t> sizes_;
  std::map<std::size_t, std::vector<std::byte*>> spare_;
};

std::recursive_mutex mutex;

Arena& arena() {
  static Arena one;
  return one;
}

}  // namespace

void fill_with_garbage(void* memory, std::size_t size) { std::memset(memory, kGarbage, size); }

void* allocate(std::size_t size) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  return fails() ? nullptr : arena().allocate(size);
}

void release(void* memory, cudaStream_t stream) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  auto* const bytes = static_cast<std::byte*>(memory);
  const std::size_t size = arena().forget(bytes);
  if (size == 0) return;
  enqueue(stream, [bytes, size] {
    const std::lock_guard<std::recursive_mutex> then(mutex);
    arena().give_back(bytes, size);
  });
}

std::size_t n_allocated() {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  return arena().n_allocated();
}

Watched watched_memory() {
  const auto begin = reinterpret_cast<std::uintptr_t>(arena().begin());
  return {begin, begin + kShared, begin + kArena};
}

}  // namespace wkmeans::cuda::on_host
