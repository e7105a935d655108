#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/cuda/arguments.h"
#include "bind/names.h"
#include "cuda/bad_value.h"
#include "cuda/device.h"

namespace wkmeans::cuda {
namespace {

void bound_cluster(const BoundQueue& queue, const Batch& batch, std::size_t k,
                   const std::string& solver, const std::string& init,
                   std::vector<double> given_centroids, int max_iter, std::uint64_t seed,
                   bool certify, const std::string& centroid_format, bool optimal_in_format,
                   bool include_zero, int n_threads, const Results& results) {
  ClusterOptions options;
  options.solver.k = k;
  options.solver.solver = solver_named(solver);
  options.solver.init = given_centroids.empty() ? init_named(init) : Init::given;
  options.solver.given_centroids = std::move(given_centroids);
  options.solver.max_iter = max_iter;
  options.solver.seed = seed;
  options.solver.certify = certify;
  options.solver.format = format_named(centroid_format);
  options.solver.optimal_in_format = optimal_in_format;
  options.zero = include_zero ? Zero::pinned : Zero::free;
  options.n_threads = n_threads;
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
  bind_errors(module);
  bind_arguments(module);
  module.def("cluster", &bound_cluster, py::arg("queue"), py::arg("batch"), py::arg("k"),
             py::arg("solver"), py::arg("init"), py::arg("given_centroids"), py::arg("max_iter"),
             py::arg("seed"), py::arg("certify"), py::arg("centroid_format"),
             py::arg("optimal_in_format"), py::arg("include_zero"), py::arg("n_threads"),
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
