#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "cuda/batch/batch.h"
#include "cuda/device/check.h"

// The device's solver of small problems, on problems that lie on the host.
namespace wkmeans::testing {

inline bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

class DeviceMemory {
public:
  explicit DeviceMemory(std::size_t n_bytes) : n_bytes_(n_bytes) {
    if (n_bytes > 0) cuda::check(cudaMalloc(&data_, n_bytes));
  }
  DeviceMemory(const void* host, std::size_t n_bytes) : DeviceMemory(n_bytes) {
    if (n_bytes > 0) cuda::check(cudaMemcpy(data_, host, n_bytes, cudaMemcpyHostToDevice));
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { cudaFree(data_); }

  template <class Value>
  Value* as() const {
    return static_cast<Value*>(data_);
  }
  void copy_to(void* host) const {
    cuda::check(cudaMemcpy(host, data_, n_bytes_, cudaMemcpyDeviceToHost));
  }

private:
  void* data_ = nullptr;
  std::size_t n_bytes_;
};

// Labels are uint32.
inline void solve_on_device(const cuda::Batch& batch, const cuda::BatchOptions& options,
                            const cuda::ProblemOutputs& outputs) {
  const auto bytes_of_operand = [&](const cuda::BatchOperand& operand) {
    if (!operand.values) return std::size_t{0};
    constexpr std::size_t kSizes[] = {2, 2, 4, 8};
    return kSizes[static_cast<std::size_t>(operand.type)] *
           static_cast<std::size_t>((batch.n_problems - 1) * operand.problem_stride +
                                    (batch.n_items - 1) * operand.item_stride + 1);
  };
  const auto n_problems = static_cast<std::size_t>(batch.n_problems);
  const DeviceMemory weights(batch.weights.values, bytes_of_operand(batch.weights));
  const DeviceMemory importance(batch.importance.values, bytes_of_operand(batch.importance));
  const DeviceMemory quartic_importance(batch.quartic_importance.values,
                                        bytes_of_operand(batch.quartic_importance));
  cuda::Batch on_device = batch;
  on_device.weights.values = weights.as<void>();
  on_device.importance.values = importance.as<void>();
  on_device.quartic_importance.values = quartic_importance.as<void>();
  const DeviceMemory centroids(n_problems * static_cast<std::size_t>(options.k) * sizeof(double));
  const DeviceMemory labels(n_problems * static_cast<std::size_t>(batch.n_items) *
                            sizeof(std::uint32_t));
  const DeviceMemory costs(n_problems * sizeof(double));
  const DeviceMemory lower_bounds(n_problems * sizeof(double));
  const DeviceMemory scales(n_problems * sizeof(double));
  const DeviceMemory errors(sizeof(cuda::BadItems));
  const DeviceMemory workspace(cuda::batch_workspace(on_device, options));
  cuda::solve_batch(
      on_device, options,
      {centroids.as<double>(), labels.as<void>(), cuda::LabelType::uint32, costs.as<double>(),
       lower_bounds.as<double>(), scales.as<double>(), errors.as<cuda::BadItems>()},
      workspace.as<void>(), nullptr);
  centroids.copy_to(outputs.centroids);
  labels.copy_to(outputs.labels);
  costs.copy_to(outputs.costs);
  lower_bounds.copy_to(outputs.lower_bounds);
  scales.copy_to(outputs.scales);
  errors.copy_to(outputs.errors);
}

}  // namespace wkmeans::testing
