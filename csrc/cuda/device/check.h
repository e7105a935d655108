#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace wkmeans::cuda {

inline void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next call would report it again
  throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

}  // namespace wkmeans::cuda
