#include <pybind11/stl.h>

#include "bind/cluster_options.h"
#include "bind/interruptible.h"
#include "bind/module.h"
#include "bind/names.h"
#include "bind/problems.h"
#include "cpu/cluster/cluster.h"

namespace wkmeans {
namespace {

struct Results {
  py::array_t<double> centroids;
  py::array_t<double> scales;
  py::array_t<double> costs;
  py::array_t<double> lower_bounds;
  py::array_t<std::int64_t> n_iters;
};

template <class Label>
py::array run_cluster(const BoundProblems& problems, const ClusterOptions& options,
                      Results& results) {
  py::array_t<Label> labels({problems.n_problems(), problems.n_items()});
  const ClusterOutput<Label> output{
      results.centroids.mutable_data(),    labels.mutable_data(),
      results.scales.mutable_data(),       results.costs.mutable_data(),
      results.lower_bounds.mutable_data(), results.n_iters.mutable_data()};
  const Problems view = problems.view();
  run_interruptibly([&] { cluster(view, options, output); });
  return std::move(labels);
}

py::tuple bound_cluster(const BoundProblems& problems, const ClusterOptions& options,
                        const std::string& label_dtype) {
  const std::size_t k = options.solver.k;
  const std::int64_t n_problems = problems.n_problems();
  const std::size_t given = options.solver.given_centroids.size();
  if (given != 0 && given != k && given != k * static_cast<std::size_t>(n_problems)) {
    throw py::value_error("init: expected k centroids, or k for each problem");
  }
  Results results{py::array_t<double>({n_problems, static_cast<std::int64_t>(k)}),
                  py::array_t<double>(n_problems), py::array_t<double>(n_problems),
                  py::array_t<double>(n_problems), py::array_t<std::int64_t>(n_problems)};
  py::array labels;
  if (label_dtype == "uint8" && k <= 256) {
    labels = run_cluster<std::uint8_t>(problems, options, results);
  } else if (label_dtype == "uint16") {
    labels = run_cluster<std::uint16_t>(problems, options, results);
  } else if (label_dtype == "uint32") {
    labels = run_cluster<std::uint32_t>(problems, options, results);
  } else {
    throw py::value_error("label dtype: " + label_dtype + " cannot name " + std::to_string(k) +
                          " centroids");
  }
  return py::make_tuple(results.centroids, labels, results.scales, results.costs,
                        results.lower_bounds, results.n_iters);
}

py::array_t<double> bound_cost_curve(const BoundProblems& problems, std::size_t k_max,
                                     bool include_zero, const std::string& centroid_format,
                                     int n_threads) {
  if (k_max < 1 || k_max > 65536) {
    throw py::value_error("k_max: expected 1 to 65536, got " + std::to_string(k_max));
  }
  py::array_t<double> costs({problems.n_problems(), static_cast<std::int64_t>(k_max)});
  double* out = costs.mutable_data();
  const Problems view = problems.view();
  const Zero zero = include_zero ? Zero::pinned : Zero::free;
  const CentroidFormat format = format_named(centroid_format);
  run_interruptibly([&] { cost_curve(view, k_max, zero, format, n_threads, out); });
  return costs;
}

}  // namespace

void bind_cluster(py::module_& module) {
  bind_cluster_options(module);
  module.def("cluster", &bound_cluster, py::arg("problems"), py::arg("options"),
             py::arg("label_dtype"));
  module.def("cost_curve", &bound_cost_curve, py::arg("problems"), py::arg("k_max"),
             py::arg("include_zero"), py::arg("centroid_format"), py::arg("n_threads"));
}

}  // namespace wkmeans
