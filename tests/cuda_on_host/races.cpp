#include "cuda_on_host/races.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <string>

#include "cuda_on_host/atomic.h"
#include "cuda_on_host/runtime.h"

namespace wkmeans::cuda::on_host {
namespace {

bool is_instrumented = false;  // whether any code that runs reports its accesses

// Barriers, blocks and launches are counted by one clock.
struct Clock {
  std::uint32_t launch = 0;  // when it began
  std::uint32_t block = 0;
  std::uint32_t now = 0;
  std::uint32_t thread = 0;
};
Clock at;
bool runs_thread = false;
std::uint64_t n_accesses = 0;

// The last access of one kind to a byte, and the launch in which a block before that one had any.
struct LastAccess {
  std::uint32_t time, thread;
  std::uint32_t launch_of_others;
};
constexpr std::uint32_t kSeveral = 0xffffffff;  // threads, in one epoch

// Since the last barrier by another thread, or by another block.
bool conflicts(const LastAccess& last, bool is_shared) {
  if (last.time == at.now) return last.thread != at.thread;
  if (is_shared) return false;
  const bool by_other_block = at.launch <= last.time && last.time < at.block;
  return by_other_block || last.launch_of_others == at.launch;
}

void note(LastAccess& last) {
  if (at.launch <= last.time && last.time < at.block) last.launch_of_others = at.launch;
  const bool is_one_of_several = last.time == at.now && last.thread != at.thread;
  last.thread = is_one_of_several ? kSeveral : at.thread;
  last.time = at.now;
}

struct Cell {
  LastAccess read, write, atomic;
};

enum class Access { read, write, atomic };

Cell* make_cells(std::size_t n_bytes) {
  void* const mapped = mmap(nullptr, n_bytes * sizeof(Cell), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  return static_cast<Cell*>(mapped);
}

void access(const void* address, std::size_t size, Access kind) {
  if (!runs_thread) return;
  static const Watched memory = watched_memory();
  const auto first = reinterpret_cast<std::uintptr_t>(address);
  if (first < memory.begin || first >= memory.end) return;
  static Cell* const cells = make_cells(memory.end - memory.begin);
  ++n_accesses;
  const bool is_shared = first < memory.shared_end;
  for (std::size_t byte = 0; byte < size; ++byte) {
    Cell& cell = cells[first - memory.begin + byte];
    const bool races = conflicts(cell.write, is_shared) ||
                       (kind != Access::atomic && conflicts(cell.atomic, is_shared)) ||
                       (kind != Access::read && conflicts(cell.read, is_shared));
    if (races) {
      find(std::string("a race in ") + (is_shared ? "shared" : "global") + " memory, of " +
           (kind == Access::read    ? "a read"
            : kind == Access::write ? "a write"
                                    : "an atomic"));
      return;
    }
    note(kind == Access::read ? cell.read : kind == Access::write ? cell.write : cell.atomic);
  }
}

}  // namespace

void begin_launch() {
  at.launch = ++at.now;
  runs_thread = false;
}
void begin_block() { at.block = ++at.now; }
void begin_epoch() {
  ++at.now;
  runs_thread = false;
}
void begin_thread(std::uint32_t thread) {
  at.thread = thread;
  runs_thread = is_instrumented;
}

std::uint64_t n_watched_accesses() { return n_accesses; }

void note_atomic(const void* address, std::size_t size) { access(address, size, Access::atomic); }

}  // namespace wkmeans::cuda::on_host

// What code compiled with -fsanitize=thread calls.
using wkmeans::cuda::on_host::Access;
using wkmeans::cuda::on_host::access;

extern "C" {
#define WKM_ACCESS(size)                                                         \
  void __tsan_read##size(void* address) { access(address, size, Access::read); } \
  void __tsan_write##size(void* address) { access(address, size, Access::write); }
WKM_ACCESS(1)
WKM_ACCESS(2)
WKM_ACCESS(4)
WKM_ACCESS(8)
WKM_ACCESS(16)
#define WKM_UNALIGNED_ACCESS(size)                                                         \
  void __tsan_unaligned_read##size(void* address) { access(address, size, Access::read); } \
  void __tsan_unaligned_write##size(void* address) { access(address, size, Access::write); }
WKM_UNALIGNED_ACCESS(2)
WKM_UNALIGNED_ACCESS(4)
WKM_UNALIGNED_ACCESS(8)
WKM_UNALIGNED_ACCESS(16) void __tsan_read_range(void* address, std::size_t size) {
  access(address, size, Access::read);
}
void __tsan_write_range(void* address, std::size_t size) { access(address, size, Access::write); }
void* __tsan_memcpy(void* to, const void* from, std::size_t size) {
  access(from, size, Access::read);
  access(to, size, Access::write);
  return std::memcpy(to, from, size);
}
void* __tsan_memset(void* to, int value, std::size_t size) {
  access(to, size, Access::write);
  return std::memset(to, value, size);
}
void __tsan_init() { wkmeans::cuda::on_host::is_instrumented = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
// A compiler's own atomics guard statics and count references: none lies in the device's memory.
char __tsan_atomic8_load(const volatile char* at, int) { return __atomic_load_n(at, 5); }
int __tsan_atomic32_load(const volatile int* at, int) { return __atomic_load_n(at, 5); }
int __tsan_atomic32_fetch_add(volatile int* at, int value, int) {
  return __atomic_fetch_add(at, value, 5);
}
long __tsan_atomic64_fetch_add(volatile long* at, long value, int) {
  return __atomic_fetch_add(at, value, 5);
}
}
