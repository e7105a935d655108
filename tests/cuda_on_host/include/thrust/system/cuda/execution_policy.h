#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

// Thrust's policy for work that is queued on a stream.
namespace thrust::cuda {

template <class Allocator>
struct Policy {
  Allocator* allocator;
  cudaStream_t stream = nullptr;
  Policy on(cudaStream_t other) const { return {allocator, other}; }
};

struct ParNosync {
  template <class Allocator>
  Policy<Allocator> operator()(Allocator& allocator) const {
    return {&allocator};
  }
};
constexpr ParNosync par_nosync{};

}  // namespace thrust::cuda
