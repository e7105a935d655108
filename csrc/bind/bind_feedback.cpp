#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bind/gil.h"
#include "bind/interruptible.h"
#include "bind/module.h"
#include "bind/names.h"
#include "cpu/feedback/cholesky.h"
#include "cpu/feedback/factor.h"
#include "cpu/feedback/importance_matrix.h"
#include "cpu/feedback/labelling.h"
#include "cpu/feedback/refit.h"
#include "cpu/intervals/format.h"
#include "cpu/lattice/lattice.h"

namespace wkmeans {
namespace {

namespace py = pybind11;

using Doubles = py::array_t<double, py::array::c_style>;

void check_size(const char* name, const py::array& array, std::int64_t size) {
  if (array.size() == size) return;
  throw py::value_error(std::string(name) + ": expected " + std::to_string(size) + " values, got " +
                        std::to_string(array.size()));
}

std::int64_t side_of(const char* name, const py::array& matrix) {
  if (matrix.ndim() == 2 && matrix.shape(0) == matrix.shape(1)) return matrix.shape(0);
  throw py::value_error(std::string(name) + ": expected a square matrix");
}

std::int64_t rows_of(const Doubles& weights, std::int64_t n) {
  if (weights.ndim() == 2 && weights.shape(1) == n) return weights.shape(0);
  throw py::value_error("weights: expected rows of " + std::to_string(n) + " values");
}

// In place; the first column that stands in the way, or None.
std::optional<std::int64_t> bound_cholesky(Doubles& matrix, int n_threads) {
  const std::int64_t n = side_of("matrix", matrix);
  double* values = matrix.mutable_data();
  std::optional<std::int64_t> bad;
  run_interruptibly([&] { bad = cholesky(values, n, Parallel(n_threads)); });
  return bad;
}

FeedbackFactor make_factor(const Doubles& lower, int n_threads) {
  const std::int64_t n = side_of("lower", lower);
  const double* values = lower.data();
  const WithoutGil release;
  return {values, n, Parallel(n_threads)};
}

py::tuple bound_lattice(const FeedbackFactor& factor, const Doubles& weights,
                        const Doubles& row_steps, const Doubles& column_steps, std::int64_t block,
                        const std::optional<Doubles>& row_coefficients, int n_threads) {
  const std::int64_t n = factor.n();
  const std::int64_t n_rows = rows_of(weights, n);
  check_size("row_steps", row_steps, n_rows);
  check_size("column_steps", column_steps, n);
  if (row_coefficients) check_size("row_coefficients", *row_coefficients, n_rows * n_rows);
  if (block < 1 || (row_coefficients && block < n_rows)) {
    throw py::value_error("block: expected at least one row, and all that matter together");
  }
  const Lattice lattice{row_steps.data(), column_steps.data(), std::min(block, n_rows),
                        row_coefficients ? row_coefficients->data() : nullptr};
  py::array_t<std::int32_t> integers({n_rows, n});
  py::array_t<double> costs(n_rows);
  py::array_t<double> products(n);
  py::array_t<double> squares(n);
  const LatticeOutput output{integers.mutable_data(), costs.mutable_data(), products.mutable_data(),
                             squares.mutable_data()};
  bool fits = false;
  run_interruptibly([&] {
    fits =
        feed_back_on_lattice(factor, weights.data(), n_rows, lattice, Parallel(n_threads), output);
  });
  if (!fits) throw py::value_error("steps: too small, an integer does not fit 32 bits");
  return py::make_tuple(integers, costs, products, squares);
}

// The matrices' values are read where they lie: their array lives as long.
struct BoundMatrices {
  BoundMatrices(const Doubles& values, const Doubles& lower, int n_threads)
      : keep_alive(values), matrices(build(values, lower, n_threads)) {}

  static ImportanceMatrices build(const Doubles& values, const Doubles& lower, int n_threads) {
    if (values.ndim() != 3 || values.shape(1) != values.shape(2)) {
      throw py::value_error("values: expected matrices (count, n, n)");
    }
    check_size("lower", lower, values.size());
    const std::int64_t count = values.shape(0);
    const std::int64_t n = values.shape(1);
    const double* from = values.data();
    const double* factors = lower.data();
    const WithoutGil release;
    return {from, factors, count, n, Parallel(n_threads)};
  }

  Doubles keep_alive;
  ImportanceMatrices matrices;
};

MatrixRows bound_rows(const BoundMatrices& bound, const Doubles& weights,
                      const Doubles& codebooks) {
  const std::int64_t n_rows = rows_of(weights, bound.matrices.n());
  if (bound.matrices.count() != 1 && bound.matrices.count() != n_rows) {
    throw py::value_error("weights: expected a row for each matrix");
  }
  if (codebooks.ndim() != 2 || (codebooks.shape(0) != 1 && codebooks.shape(0) != n_rows) ||
      codebooks.shape(1) < 1 || codebooks.shape(1) > 65536) {
    throw py::value_error("codebooks: expected one of 1 to 65536 centroids, or one for each row");
  }
  const bool is_shared = codebooks.shape(0) == 1;
  return {bound.matrices, weights.data(), n_rows,
          Codebooks{codebooks.data(), codebooks.shape(1), is_shared}};
}

using LabelArray = py::array_t<MatrixLabel, py::array::c_style>;

void check_labels(const LabelArray& labels, std::int64_t n, std::int64_t k) {
  check_size("labels", labels, n);
  for (std::int64_t i = 0; i < n; ++i) {
    if (labels.data()[i] >= k) {
      throw py::value_error("labels: expected less than " + std::to_string(k));
    }
  }
}

const MatrixLabel* checked_labels(const LabelArray& labels, const MatrixRows& rows) {
  check_labels(labels, rows.n_rows * rows.matrices.n(), rows.codebooks.k);
  return labels.data();
}

py::tuple bound_label(const BoundMatrices& bound, const Doubles& weights, const Doubles& codebooks,
                      int n_threads) {
  const MatrixRows rows = bound_rows(bound, weights, codebooks);
  LabelArray labels({rows.n_rows, rows.matrices.n()});
  py::array_t<double> costs(rows.n_rows);
  MatrixLabel* out = labels.mutable_data();
  double* row_costs = costs.mutable_data();
  run_interruptibly([&] { label_by_feedback(rows, Parallel(n_threads), out, row_costs); });
  return py::make_tuple(labels, costs);
}

py::array_t<double> bound_costs(const BoundMatrices& bound, const Doubles& weights,
                                const Doubles& codebooks, const LabelArray& labels, int n_threads) {
  const MatrixRows rows = bound_rows(bound, weights, codebooks);
  const MatrixLabel* from = checked_labels(labels, rows);
  py::array_t<double> costs(rows.n_rows);
  double* out = costs.mutable_data();
  run_interruptibly([&] { label_costs(rows, from, Parallel(n_threads), out); });
  return costs;
}

// In place.
py::array_t<double> bound_descend(const BoundMatrices& bound, const Doubles& weights,
                                  const Doubles& codebooks, int sweeps, LabelArray& labels,
                                  int n_threads) {
  const MatrixRows rows = bound_rows(bound, weights, codebooks);
  checked_labels(labels, rows);
  py::array_t<double> costs(rows.n_rows);
  MatrixLabel* at = labels.mutable_data();
  double* out = costs.mutable_data();
  run_interruptibly([&] { descend(rows, sweeps, Parallel(n_threads), at, out); });
  return costs;
}

// In place: labels, products and own.
void bound_descend_coupled(const BoundMatrices& bound, const Doubles& coupling,
                           const Doubles& codebook, int sweeps, LabelArray& labels,
                           Doubles& products, Doubles& own) {
  const std::int64_t n = bound.matrices.n();
  const std::int64_t n_rows = rows_of(products, n);
  if (bound.matrices.count() != 1) throw py::value_error("matrices: expected one for all rows");
  if (side_of("coupling", coupling) != n_rows) {
    throw py::value_error("coupling: expected a row for each row of products");
  }
  check_size("own", own, products.size());
  if (codebook.ndim() != 1 || codebook.size() < 1 || codebook.size() > 65536) {
    throw py::value_error("codebook: expected 1 to 65536 centroids");
  }
  check_labels(labels, products.size(), codebook.size());
  const CoupledRows rows{
      bound.matrices.of_chunk(0), n, n_rows, coupling.data(), codebook.data(), codebook.size()};
  MatrixLabel* at = labels.mutable_data();
  double* all = products.mutable_data();
  double* single = own.mutable_data();
  run_interruptibly([&] { descend_coupled(rows, sweeps, at, all, single); });
}

py::array_t<double> bound_refit(const BoundMatrices& bound, const Doubles& weights,
                                const Doubles& codebooks, const LabelArray& labels,
                                const Doubles& importances, bool zero_stays, int n_threads) {
  const MatrixRows rows = bound_rows(bound, weights, codebooks);
  const MatrixLabel* from = checked_labels(labels, rows);
  check_size("importances", importances, rows.n_rows);
  py::array_t<double> refitted({codebooks.shape(0), codebooks.shape(1)});
  double* out = refitted.mutable_data();
  run_interruptibly(
      [&] { refit(rows, from, importances.data(), zero_stays, Parallel(n_threads), out); });
  return refitted;
}

// Each row of values, the nearest that the format holds; int8 in multiples of the row's scale.
py::array_t<double> bound_rounding(const Doubles& values, const std::string& format,
                                   const Doubles& scales) {
  if (values.ndim() != 2) throw py::value_error("values: expected rows");
  check_size("scales", scales, values.shape(0));
  const CentroidFormat centroid_format = format_named(format);
  py::array_t<double> rounded({values.shape(0), values.shape(1)});
  for (py::ssize_t row = 0; row < values.shape(0); ++row) {
    const Placement placement = placement_of(centroid_format, scales.data()[row]);
    for (py::ssize_t j = 0; j < values.shape(1); ++j) {
      rounded.mutable_at(row, j) = placement.nearest(values.at(row, j));
    }
  }
  return rounded;
}

}  // namespace

void bind_feedback(py::module_& module) {
  module.def("cholesky", &bound_cholesky, py::arg("matrix").noconvert(), py::arg("n_threads"));
  py::class_<FeedbackFactor>(module, "FeedbackFactor")
      .def(py::init(&make_factor), py::arg("lower"), py::arg("n_threads"));
  module.def("feed_back_on_lattice", &bound_lattice, py::arg("factor"), py::arg("weights"),
             py::arg("row_steps"), py::arg("column_steps"), py::arg("block"),
             py::arg("row_coefficients").none(true), py::arg("n_threads"));
  module.def("round_to_format", &bound_rounding, py::arg("values"), py::arg("format"),
             py::arg("scales"));
  py::class_<BoundMatrices>(module, "ImportanceMatrices")
      .def(py::init<const Doubles&, const Doubles&, int>(), py::arg("values").noconvert(),
           py::arg("lower"), py::arg("n_threads"));
  module.def("label_by_feedback", &bound_label, py::arg("matrices"), py::arg("weights"),
             py::arg("codebooks"), py::arg("n_threads"));
  module.def("label_costs", &bound_costs, py::arg("matrices"), py::arg("weights"),
             py::arg("codebooks"), py::arg("labels"), py::arg("n_threads"));
  module.def("descend_labels", &bound_descend, py::arg("matrices"), py::arg("weights"),
             py::arg("codebooks"), py::arg("sweeps"), py::arg("labels").noconvert(),
             py::arg("n_threads"));
  module.def("descend_coupled_labels", &bound_descend_coupled, py::arg("matrices"),
             py::arg("coupling"), py::arg("codebook"), py::arg("sweeps"),
             py::arg("labels").noconvert(), py::arg("products").noconvert(),
             py::arg("own").noconvert());
  module.def("refit_codebooks", &bound_refit, py::arg("matrices"), py::arg("weights"),
             py::arg("codebooks"), py::arg("labels"), py::arg("importances"), py::arg("zero_stays"),
             py::arg("n_threads"));
}

}  // namespace wkmeans
