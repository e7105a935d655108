#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "cuda/batch_outputs.h"
#include "cuda/device/check.h"
#include "cuda/device/device.h"

// The integers that the Python layer passes: addresses, strides, a device and a stream.
namespace wkmeans::cuda {

namespace py = pybind11;

template <class T>
T* pointer_to(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

// Addresses of a batch's results.
struct Results {
  std::uintptr_t centroids, labels;
  std::string label_dtype;
  std::uintptr_t scales, costs, lower_bounds, n_iters;

  BatchOutputs outputs() const;
};

// A stream, and the two functions of the caller's that hand out its device's memory.
class BoundQueue {
public:
  BoundQueue(int device, std::uintptr_t stream, py::function allocate, py::function release)
      : device_(device),
        stream_(pointer_to<CUstream_st>(stream)),
        allocate_(std::move(allocate)),
        release_(std::move(release)) {}

  // task(Queue), without the GIL but where memory is asked for.
  template <class Task>
  void run(Task&& task) const {
    const DeviceMemory memory(
        [this](std::size_t size) {
          const py::gil_scoped_acquire held;
          return pointer_to<void>(allocate_(size).cast<std::uintptr_t>());
        },
        [this](void* data) {
          const py::gil_scoped_acquire held;
          release_(reinterpret_cast<std::uintptr_t>(data));
        });
    const py::gil_scoped_release released;
    const CurrentDevice current(device_);
    task(Queue{stream_, memory});
  }

private:
  // The device of this thread, for as long as it lives.
  class CurrentDevice {
  public:
    explicit CurrentDevice(int device) {
      check(cudaGetDevice(&before_));
      check(cudaSetDevice(device));
    }
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;
    ~CurrentDevice() { cudaSetDevice(before_); }

  private:
    int before_ = 0;
  };

  int device_;
  cudaStream_t stream_;
  py::function allocate_, release_;
};

void bind_arguments(py::module_& module);

}  // namespace wkmeans::cuda
