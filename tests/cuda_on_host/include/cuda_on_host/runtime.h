#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

// A device played by the host. Streams run late: only when somebody waits for them. The threads of
// a block are fibers; blocks run one after another; the order of both is drawn anew at every
// barrier and launch. Whatever a kernel may not count on is garbage: shared memory, memory just
// allocated, and memory just released.
namespace wkmeans::cuda::on_host {

// --- findings: what is wrong with the code that runs; tests look at them -----------------------
void find(const std::string& fault);
const std::vector<std::string>& findings();
void forget_findings();

// --- streams ------------------------------------------------------------------------------------
void enqueue(cudaStream_t stream, std::function<void()> work);
void wait(cudaStream_t stream);
std::size_t queued(cudaStream_t stream);

// The n-th call from now on that may fail fails; none where n is negative.
void fail_after(long n);
bool fails();
cudaError_t leave_error(cudaError_t status);  // for cudaGetLastError

// --- memory -------------------------------------------------------------------------------------
void fill_with_garbage(void* memory, std::size_t size);
void* allocate(std::size_t size);  // null where there is none left, or where that is to fail
// In the order of the stream, whose later work may be given the memory.
void release(void* memory, cudaStream_t stream);
std::size_t n_allocated();

// --- kernels ------------------------------------------------------------------------------------
struct Place {
  unsigned thread, n_threads, block, n_blocks, slice;
};
struct Launch {
  const void* kernel;
  dim3 grid;
  unsigned n_threads;
  std::size_t shared_bytes;
  cudaStream_t stream;
};
// Which barrier it is that threads wait at.
struct Site {
  const char* function;
  int line;
  bool operator==(const Site& other) const {
    return function == other.function && line == other.line;
  }
};

void launch(const Launch& launch, std::function<void()> thread);
void allow_shared_bytes(const void* kernel, std::size_t most);
Place place();
std::byte* shared_memory();
void barrier(const Site& site);

// f(i) for i below n, as if each were a thread of its own, in an order drawn anew every time.
void for_each_index(std::uint64_t n, const std::function<void(std::uint64_t)>& f);

extern int current_device, device_of_last_launch;

constexpr int kProcessors = 2;
constexpr int kBlocksAtOnce = 2;
constexpr std::size_t kMostSharedBytes = 232448;    // of a kernel that is allowed to
constexpr std::size_t kAllowedSharedBytes = 49152;  // of any kernel

}  // namespace wkmeans::cuda::on_host
