#include <pybind11/stl.h>

#include <algorithm>
#include <vector>

#include "bind/cluster_options.h"
#include "bind/interruptible.h"
#include "bind/labels.h"
#include "bind/module.h"
#include "bind/names.h"
#include "bind/problems.h"
#include "cpu/cluster/cluster.h"
#include "cpu/label/codebook.h"
#include "cpu/label/nearest.h"

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
  const py::array labels = with_label(label_dtype, k, [&](auto label) {
    return run_cluster<decltype(label)>(problems, options, results);
  });
  return py::make_tuple(results.centroids, labels, results.scales, results.costs,
                        results.lower_bounds, results.n_iters);
}

using Centroids = py::array_t<double, py::array::c_style | py::array::forcecast>;

std::size_t checked_k(const Centroids& centroids) {
  if (centroids.ndim() != 2 || centroids.shape(1) < 1 || centroids.shape(1) > 65536) {
    throw py::value_error("centroids: expected 1 to 65536 for each problem");
  }
  return static_cast<std::size_t>(centroids.shape(1));
}

py::array bound_label_nearest(const BoundProblems& problems, const Centroids& centroids,
                              const std::string& label_dtype, int n_threads) {
  const std::size_t k = checked_k(centroids);
  if (centroids.shape(0) != problems.n_problems()) {
    throw py::value_error("centroids: expected those of each problem");
  }
  return with_label(label_dtype, k, [&](auto label) -> py::array {
    py::array_t<decltype(label)> labels({problems.n_problems(), problems.n_items()});
    auto* out = labels.mutable_data();
    const double* given = centroids.data();
    const Problems view = problems.view();
    run_interruptibly([&] { label_nearest(view, given, k, n_threads, out); });
    return std::move(labels);
  });
}

// The largest value that takes a label of at most j, for j < k - 1.
py::array_t<double> bound_label_thresholds(const Centroids& centroids) {
  const std::size_t k = checked_k(centroids);
  py::array_t<double> found({centroids.shape(0), centroids.shape(1) - 1});
  double* out = found.mutable_data();
  std::vector<double> thresholds;
  for (py::ssize_t row = 0; row < centroids.shape(0); ++row) {
    const double* own = centroids.data() + row * centroids.shape(1);
    label_thresholds(std::vector<double>(own, own + k), thresholds);
    out = std::copy(thresholds.begin(), thresholds.end(), out);
  }
  return found;
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

// For tests, which choose routes by the options' `reading` and `search`.
py::dict bound_route_of(const BoundProblems& problems, const ClusterOptions& options) {
  const Facts facts = facts_of(problems.view(), options.n_threads);
  const Route route = route_of(facts, options.solver, options.zero, options.route);
  const auto n_items = static_cast<std::size_t>(facts.n_items);
  const Search search = route.search.value_or(search_of(options.solver, options.zero, n_items));
  py::dict found;
  found["reading"] = name_of(route.reading);
  found["n_buckets"] = route.n_buckets;
  found["search"] = options.solver.solver == Solver::lloyd ? "lloyd" : name_of(search);
  found["problems_at_once"] = route.problems_at_once;
  found["threads_of_a_problem"] = route.threads_of_a_problem;
  return found;
}

}  // namespace

void bind_cluster(py::module_& module) {
  bind_cluster_options(module);
  module.def("cluster", &bound_cluster, py::arg("problems"), py::arg("options"),
             py::arg("label_dtype"));
  module.def("label_nearest", &bound_label_nearest, py::arg("problems"), py::arg("centroids"),
             py::arg("label_dtype"), py::arg("n_threads"));
  module.def("label_thresholds", &bound_label_thresholds, py::arg("centroids"));
  module.def("route_of", &bound_route_of, py::arg("problems"), py::arg("options"));
  module.def("cost_curve", &bound_cost_curve, py::arg("problems"), py::arg("k_max"),
             py::arg("include_zero"), py::arg("centroid_format"), py::arg("n_threads"));
}

}  // namespace wkmeans
