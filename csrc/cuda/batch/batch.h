#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

#include "cuda/batch/problem.h"

namespace wkmeans::cuda {

// Device memory that solve_batch needs on the current device; it may be zero.
std::size_t batch_workspace(const Batch& batch, const BatchOptions& options);

// The global optimum of every problem of a batch that fits_batch, one block a problem, queued
// on `stream`. `workspace` is device memory of at least batch_workspace() bytes. The same
// bits on every device and every run. Throws std::runtime_error where CUDA refuses. Many problems
// take several launches, between which `pause` may wait for the stream, and throw to stop.
void solve_batch(
    const Batch& batch, const BatchOptions& options, const ProblemOutputs& outputs, void* workspace,
    cudaStream_t stream, const std::function<void()>& pause = [] {});

}  // namespace wkmeans::cuda
