#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/device/check.h"
#include "cuda_on_host/runtime.h"

// csrc/cuda/device/launch.h for a host that plays the device.
#define WKM_DEVICE inline
#define WKM_KERNEL(most_threads) void
#define WKM_BARRIER() ::wkmeans::cuda::on_host::barrier({__PRETTY_FUNCTION__, __LINE__})

namespace wkmeans::cuda {

using on_host::Place;

inline Place place() { return on_host::place(); }
inline std::byte* shared_memory() { return on_host::shared_memory(); }

// As under CUDA, arguments are copied when the kernel is launched.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const dim3& grid, int n_threads,
            std::size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  on_host::launch({reinterpret_cast<const void*>(kernel), grid, static_cast<unsigned>(n_threads),
                   shared_bytes, stream},
                  [=] { kernel(arguments...); });
  check(cudaGetLastError());
}

}  // namespace wkmeans::cuda
