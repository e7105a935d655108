#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/cluster_options.h"
#include "bind/cuda/arguments.h"
#include "bind/interruptible.h"
#include "bind/names.h"
#include "cuda/device.h"
#include "cuda/items/bad_value.h"

namespace wkmeans::cuda {
namespace {

void bound_cluster(const BoundQueue& queue, const Batch& batch, const ClusterOptions& options,
                   const Results& results) {
  const BatchOutputs outputs = results.outputs();
  queue.run([&](const Queue& q) { cluster_batch(q, batch, options, outputs); });
}

void bound_cost_curve(const BoundQueue& queue, const Batch& batch, std::size_t k_max,
                      bool include_zero, const std::string& centroid_format, int n_threads,
                      std::uintptr_t costs) {
  const Zero zero = include_zero ? Zero::pinned : Zero::free;
  const CentroidFormat format = format_named(centroid_format);
  queue.run([&](const Queue& q) {
    cost_curves(q, batch, k_max, zero, format, n_threads, pointer_to<double>(costs));
  });
}

void bound_prune(const BoundQueue& queue, const Batch& batch, std::uint64_t keep,
                 std::uintptr_t mask) {
  queue.run([&](const Queue& q) { prune_each(q, batch, keep, pointer_to<bool>(mask)); });
}

void bound_prune_together(const BoundQueue& queue, const std::vector<Batch>& batches,
                          std::uint64_t keep, const std::vector<std::uintptr_t>& masks) {
  std::vector<bool*> pointers;
  for (const std::uintptr_t mask : masks) pointers.push_back(pointer_to<bool>(mask));
  queue.run([&](const Queue& q) { prune_together(q, batches, pointers, keep); });
}

void bound_prune_pattern(const BoundQueue& queue, const Batch& batch, std::int64_t keep,
                         std::int64_t group, std::uintptr_t mask) {
  queue.run([&](const Queue& q) { prune_pattern(q, batch, keep, group, pointer_to<bool>(mask)); });
}

void bind_errors(py::module_& module) {
  // The Python layer knows the caller's tensors and turns this into its message.
  static const py::exception<BadValue> bad_value(module, "BadValue", PyExc_ValueError);
  py::register_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const BadValue& error) {
      const py::tuple arguments = py::make_tuple(error.what(), error.batch());
      PyErr_SetObject(bad_value.ptr(), arguments.ptr());
    }
  });
}

}  // namespace
}  // namespace wkmeans::cuda

PYBIND11_MODULE(_cuda, module) {
  using namespace wkmeans::cuda;  // NOLINT: the table of contents below
  module.doc() = "CUDA kernels of wkmeans.";
  wkmeans::remember_main_thread();
  bind_errors(module);
  bind_arguments(module);
  wkmeans::bind_cluster_options(module);
  module.def("cluster", &bound_cluster, py::arg("queue"), py::arg("batch"), py::arg("options"),
             py::arg("results"));
  module.def("cost_curve", &bound_cost_curve, py::arg("queue"), py::arg("batch"), py::arg("k_max"),
             py::arg("include_zero"), py::arg("centroid_format"), py::arg("n_threads"),
             py::arg("costs"));
  module.def("prune", &bound_prune, py::arg("queue"), py::arg("batch"), py::arg("keep"),
             py::arg("mask"));
  module.def("prune_together", &bound_prune_together, py::arg("queue"), py::arg("batches"),
             py::arg("keep"), py::arg("masks"));
  module.def("prune_pattern", &bound_prune_pattern, py::arg("queue"), py::arg("batch"),
             py::arg("keep"), py::arg("group"), py::arg("mask"));
}
