// What Python asks of the device that the host plays: by ctypes, see tests/cuda_device.py.
#include <Python.h>

#include <cstdint>
#include <string>
#include <utility>

#include "cuda_on_host/races.h"
#include "cuda_on_host/runtime.h"

namespace on_host = wkmeans::cuda::on_host;

namespace {

// A tensor as DLPack has it, which torch takes without a copy and gives back by `deleter`.
struct ManagedTensor {
  void* data;
  struct {
    std::int32_t type, id;
  } device;
  std::int32_t n_dimensions;
  struct {
    std::uint8_t kind, bits;
    std::uint16_t lanes;
  } dtype;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;

  void* context;
  void (*deleter)(ManagedTensor*);

  std::int64_t size;
  cudaStream_t stream;
};

constexpr std::int32_t kCpu = 1;
constexpr std::uint8_t kUnsigned = 1;
constexpr const char* kNotYetTaken =
    "dltensor";  // torch renames the capsule as it takes the tensor

void give_back(ManagedTensor* tensor) {
  on_host::release(tensor->data, tensor->stream);
  delete tensor;
}

void give_back_if_not_taken(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kNotYetTaken)) return;
  give_back(static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule, kNotYetTaken)));
}

cudaStream_t stream_of(std::uintptr_t address) {
  return reinterpret_cast<cudaStream_t>(address);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace

#define WKM_EXPORT extern "C" __attribute__((visibility("default")))

// So many bytes of the device's memory, released in the stream's order; None where there are none.
// The capsule owns them from the first: an interrupt that Python hears on return leaves nothing.
WKM_EXPORT PyObject* on_host_tensor(std::int64_t size, std::uintptr_t stream) {
  void* const memory = on_host::allocate(static_cast<std::size_t>(size));
  if (!memory) Py_RETURN_NONE;
  auto* const tensor =
      new ManagedTensor{memory,  {kCpu, 0},  1,    {kUnsigned, 8, 1}, nullptr, nullptr, 0,
                        nullptr, &give_back, size, stream_of(stream)};
  tensor->shape = &tensor->size;
  return PyCapsule_New(tensor, kNotYetTaken, &give_back_if_not_taken);
}

WKM_EXPORT std::int64_t on_host_n_allocated() {
  return static_cast<std::int64_t>(on_host::n_allocated());
}

WKM_EXPORT void on_host_wait(std::uintptr_t stream) { on_host::wait(stream_of(stream)); }
WKM_EXPORT std::int64_t on_host_queued(std::uintptr_t stream) {
  return static_cast<std::int64_t>(on_host::queued(stream_of(stream)));
}
WKM_EXPORT void on_host_copy(void* to, const void* from, std::int64_t size, std::uintptr_t stream) {
  cudaMemcpyAsync(to, from, static_cast<std::size_t>(size), cudaMemcpyHostToDevice,
                  stream_of(stream));
}

WKM_EXPORT void on_host_fail_after(std::int64_t n) { on_host::fail_after(static_cast<long>(n)); }
WKM_EXPORT void on_host_leave_error() { on_host::leave_error(cudaErrorInvalidValue); }
WKM_EXPORT int on_host_last_error() { return cudaGetLastError(); }

WKM_EXPORT int on_host_exchange_device(int device) {
  return std::exchange(on_host::current_device, device);
}
WKM_EXPORT int on_host_device_of_last_launch() { return on_host::device_of_last_launch; }

// Faults found so far, a line each, which are then forgotten.
WKM_EXPORT const char* on_host_findings() {
  static std::string text;
  text.clear();
  for (const std::string& fault : on_host::findings()) text += fault + "\n";
  on_host::forget_findings();
  return text.c_str();
}
WKM_EXPORT std::int64_t on_host_n_watched() {
  return static_cast<std::int64_t>(on_host::n_watched_accesses());
}
