#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/device/check.h"

// All that kernels and their launches need of CUDA's own language. Compiled as C++, the same
// kernels run on a host that plays the device.
//   WKM_KERNEL(n) f(...)   a kernel whose blocks have at most n threads
//   WKM_BARRIER()          all threads of the block meet
//   launch(kernel, grid, n_threads, shared_bytes, stream, arguments...)
#if defined(__CUDACC__)

#define WKM_DEVICE __device__ __forceinline__
#define WKM_KERNEL(most_threads) __global__ void __launch_bounds__(most_threads)
#define WKM_BARRIER() __syncthreads()

namespace wkmeans::cuda {

struct Place {
  unsigned thread, n_threads, block, n_blocks, slice;  // slice: in the second dimension of the grid
};

WKM_DEVICE Place place() { return {threadIdx.x, blockDim.x, blockIdx.x, gridDim.x, blockIdx.y}; }

// The block's shared memory: as many bytes as it was launched with.
WKM_DEVICE std::byte* shared_memory() {
  extern __shared__ __align__(16) std::byte memory[];
  return memory;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const dim3& grid, int n_threads,
            std::size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  kernel<<<grid, static_cast<unsigned>(n_threads), shared_bytes, stream>>>(arguments...);
  check(cudaGetLastError());
}

}  // namespace wkmeans::cuda

#else
#include "cuda_on_host/launch.h"
#endif

namespace wkmeans::cuda {

inline int attribute(cudaDeviceAttr name) {
  int device = 0;
  int value = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&value, name, device));
  return value;
}

inline int processor_count() { return attribute(cudaDevAttrMultiProcessorCount); }

// What a block may have of shared memory where its kernel is allowed to.
inline std::size_t most_shared_bytes() {
  return static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

// Beyond what any kernel may have, a kernel has to be allowed so much.
template <class Kernel>
void allow_shared_bytes(Kernel* kernel, std::size_t most) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)));
}

// How many blocks of a kernel a processor runs at once.
template <class Kernel>
int blocks_at_once(Kernel* kernel, int n_threads, std::size_t shared_bytes) {
  int count = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&count, reinterpret_cast<const void*>(kernel),
                                                      n_threads, shared_bytes));
  return count;
}

}  // namespace wkmeans::cuda
