#pragma once

#include <stdexcept>

#include "cuda_on_host/runtime.h"
#include "thrust/iterator/counting_iterator.h"
#include "thrust/system/cuda/execution_policy.h"

namespace thrust {

// As Thrust does, an error that anybody left is reported.
inline void throw_last_error() {
  if (wkmeans::cuda::on_host::fails()) wkmeans::cuda::on_host::leave_error(cudaErrorLaunchFailure);
  if (cudaPeekAtLastError() != cudaSuccess) throw std::runtime_error("Thrust: a launch failed");
}

template <class Allocator, class Index, class Function>
void for_each_n(const cuda::Policy<Allocator>& policy, counting_iterator<Index> first, Index n,
                const Function& f) {
  throw_last_error();
  wkmeans::cuda::on_host::enqueue(policy.stream, [=] {
    wkmeans::cuda::on_host::for_each_index(n, [&](std::uint64_t i) { f(*first + i); });
  });
}

}  // namespace thrust
