#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>

#include "bind/gil.h"
#include "bind/interruptible.h"
#include "cuda/batch_outputs.h"
#include "cuda/device.h"

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

// A stream of the current device, and the caller's function that hands out its memory:
// allocate(size) -> (owner, address). Memory is given back by letting go of its owner, where no
// code of the caller's may run: a signal's handler could raise there, and nobody would hear it.
class BoundQueue {
public:
  BoundQueue(std::uintptr_t stream, py::function allocate)
      : stream_(pointer_to<CUstream_st>(stream)), allocate_(std::move(allocate)) {}

  // task(Queue), without the GIL but where memory is asked for or given back.
  template <class Task>
  void run(Task&& task) const {
    const DeviceMemory memory([this](std::size_t size) { return allocate(size); });
    run_interruptibly([&] { task(Queue{stream_, memory}); });
  }

private:
  DeviceBytes allocate(std::size_t size) const {
    const WithGil held;
    auto [owner, address] = allocate_(size).cast<std::pair<py::object, std::uintptr_t>>();
    return {pointer_to<void>(address), [owner = std::move(owner)](void*) mutable {
              const WithGil held_again;
              owner = py::object();
            }};
  }

  cudaStream_t stream_;
  py::function allocate_;
};

void bind_arguments(py::module_& module);

}  // namespace wkmeans::cuda
