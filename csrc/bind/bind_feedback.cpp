#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bind/module.h"
#include "cpu/feedback/cholesky.h"
#include "cpu/feedback/factor.h"
#include "cpu/feedback/lattice.h"

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
  const py::gil_scoped_release release;
  return cholesky(values, n, Parallel(n_threads));
}

FeedbackFactor make_factor(const Doubles& lower, int n_threads) {
  const std::int64_t n = side_of("lower", lower);
  const double* values = lower.data();
  const py::gil_scoped_release release;
  return {values, n, Parallel(n_threads)};
}

using ClassesOfColumns = py::array_t<std::int32_t, py::array::c_style>;

CodeLengths lengths_of(double multiplier, const Doubles& bits, const ClassesOfColumns& classes,
                       std::int64_t n) {
  if (bits.ndim() != 2 || bits.shape(1) % 2 == 0) {
    throw py::value_error("code lengths: expected an odd number of them for each class");
  }
  check_size("classes", classes, n);
  for (std::int64_t i = 0; i < n; ++i) {
    if (classes.data()[i] < 0 || classes.data()[i] >= bits.shape(0)) {
      throw py::value_error("classes: expected 0 to " + std::to_string(bits.shape(0) - 1) +
                            ", got " + std::to_string(classes.data()[i]));
    }
  }
  return {multiplier, bits.shape(1) / 2, bits.data(), classes.data()};
}

py::tuple bound_lattice(const FeedbackFactor& factor, const Doubles& weights,
                        const Doubles& row_steps, const Doubles& column_steps,
                        const Doubles& shrinkage, double multiplier, const Doubles& bits,
                        const ClassesOfColumns& classes, int n_threads) {
  const std::int64_t n = factor.n();
  const std::int64_t n_rows = rows_of(weights, n);
  check_size("row_steps", row_steps, n_rows);
  check_size("column_steps", column_steps, n);
  check_size("shrinkage", shrinkage, n);
  const Lattice lattice{row_steps.data(), column_steps.data(), shrinkage.data(),
                        lengths_of(multiplier, bits, classes, n)};
  py::array_t<std::int32_t> integers({n_rows, n});
  py::array_t<double> costs(n_rows);
  py::array_t<double> products(n);
  py::array_t<double> squares(n);
  const LatticeOutput output{integers.mutable_data(), costs.mutable_data(), products.mutable_data(),
                             squares.mutable_data()};
  bool fits = false;
  {
    const py::gil_scoped_release release;
    fits =
        feed_back_on_lattice(factor, weights.data(), n_rows, lattice, Parallel(n_threads), output);
  }
  if (!fits) throw py::value_error("steps: too small, an integer does not fit 32 bits");
  return py::make_tuple(integers, costs, products, squares);
}

}  // namespace

void bind_feedback(py::module_& module) {
  module.def("cholesky", &bound_cholesky, py::arg("matrix").noconvert(), py::arg("n_threads"));
  py::class_<FeedbackFactor>(module, "FeedbackFactor")
      .def(py::init(&make_factor), py::arg("lower"), py::arg("n_threads"));
  module.def("feed_back_on_lattice", &bound_lattice, py::arg("factor"), py::arg("weights"),
             py::arg("row_steps"), py::arg("column_steps"), py::arg("shrinkage"),
             py::arg("multiplier"), py::arg("bits"), py::arg("classes"), py::arg("n_threads"));
}

}  // namespace wkmeans
