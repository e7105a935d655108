#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/batch/problem.h"

namespace wkmeans::cuda {

// Device memory that solve_small_batch needs on the current device; it may be zero.
std::size_t small_batch_workspace(const Batch& batch, const SmallOptions& options);

// The global optimum of every problem of a batch that fits_small_batch, one block a problem, queued
// on `stream`. `workspace` is device memory of at least small_batch_workspace() bytes. The same
// bits on every device and every run. Throws std::runtime_error where CUDA refuses.
void solve_small_batch(const Batch& batch, const SmallOptions& options, const SmallOutputs& outputs,
                       void* workspace, cudaStream_t stream);

}  // namespace wkmeans::cuda
