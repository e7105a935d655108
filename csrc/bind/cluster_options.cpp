#include "bind/cluster_options.h"

#include <pybind11/stl.h>

#include <optional>

#include "bind/names.h"
#include "cpu/cluster/cluster.h"

namespace wkmeans {
namespace {

namespace py = pybind11;

ClusterOptions make_options(std::size_t k, const std::string& solver, const std::string& init,
                            std::vector<double> given_centroids, int max_iter, std::uint64_t seed,
                            bool certify, const std::string& centroid_format,
                            bool optimal_in_format, bool include_zero, int n_threads,
                            const std::optional<std::string>& reading,
                            const std::optional<std::string>& search) {
  if (k < 1 || k > 65536) throw py::value_error("k: expected 1 to 65536, got " + std::to_string(k));
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
  if (reading) options.route.reading = reading_named(*reading);
  if (search) options.route.search = search_named(*search);
  return options;
}

}  // namespace

void bind_cluster_options(py::module_& module) {
  py::class_<ClusterOptions>(module, "ClusterOptions", py::module_local())
      .def(py::init(&make_options), py::kw_only(), py::arg("k"), py::arg("solver"), py::arg("init"),
           py::arg("given_centroids"), py::arg("max_iter"), py::arg("seed"), py::arg("certify"),
           py::arg("centroid_format"), py::arg("optimal_in_format"), py::arg("include_zero"),
           py::arg("n_threads"), py::arg("reading") = py::none(), py::arg("search") = py::none());
}

}  // namespace wkmeans
