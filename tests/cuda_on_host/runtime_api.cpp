// CUDA's runtime as far as include/cuda_runtime_api.h declares it.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "cuda_on_host/runtime.h"

namespace on_host = wkmeans::cuda::on_host;

namespace {

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t or_failure(cudaError_t failure) {
  return on_host::fails() ? on_host::leave_error(failure) : cudaSuccess;
}

}  // namespace

int on_host::current_device = 0;

cudaError_t on_host::leave_error(cudaError_t status) { return last_error = status; }

extern "C" {
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : "an error of the host that plays the device";
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = on_host::current_device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int /*device*/) {
  *value = name == cudaDevAttrMultiProcessorCount ? on_host::kProcessors
                                                  : static_cast<int>(on_host::kMostSharedBytes);
  return or_failure(cudaErrorInvalidValue);
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute /*name*/, int value) {
  if (value > static_cast<int>(on_host::kMostSharedBytes)) {
    on_host::find("more shared memory than the device has");
    return on_host::leave_error(cudaErrorInvalidValue);
  }
  on_host::allow_shared_bytes(kernel, static_cast<std::size_t>(value));
  return or_failure(cudaErrorInvalidValue);
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* count, const void* /*kernel*/,
                                                          int /*n_threads*/,
                                                          std::size_t shared_bytes) {
  const std::size_t room = on_host::kMostSharedBytes / std::max(shared_bytes, std::size_t{1});
  *count = static_cast<int>(std::min<std::size_t>(room, on_host::kBlocksAtOnce));
  return or_failure(cudaErrorInvalidValue);
}

cudaError_t cudaMalloc(void** memory, std::size_t size) {
  *memory = on_host::allocate(size);
  return *memory ? cudaSuccess : on_host::leave_error(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* memory) {
  if (memory) on_host::release(memory, nullptr);
  on_host::wait(nullptr);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t size, cudaMemcpyKind kind) {
  const cudaError_t status = cudaMemcpyAsync(to, from, size, kind, nullptr);
  on_host::wait(nullptr);
  return status;
}
// Late both ways: CUDA promises no more of memory that is not pinned.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (on_host::fails()) return on_host::leave_error(cudaErrorInvalidValue);
  if (size == 0 || !to || !from) on_host::find("a copy of nothing");
  if (kind == cudaMemcpyDeviceToHost) on_host::fill_with_garbage(to, size);
  on_host::enqueue(stream, [=] { std::memcpy(to, from, size); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t size, cudaStream_t stream) {
  if (on_host::fails()) return on_host::leave_error(cudaErrorInvalidValue);
  if (size == 0 || !to) on_host::find("a memset of nothing");
  on_host::enqueue(stream, [=] { std::memset(to, value, size); });
  return cudaSuccess;
}
// What failed shows after the work, which may have written by then.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  on_host::wait(stream);
  return or_failure(cudaErrorLaunchFailure);
}
}
