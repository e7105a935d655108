#include <pybind11/stl.h>

#include <optional>

#include "bind/interruptible.h"
#include "bind/module.h"
#include "bind/problems.h"
#include "cpu/products/squared_products.h"

namespace wkmeans {
namespace {

// An array (seeds or 1, examples, groups, *rows, *positions) and how many axes are rows.
using FactorArray = std::pair<py::array, int>;

// The offset, in items, of every position along some axes, the last of them fastest.
std::vector<std::int64_t> offsets_along(const py::array& array, py::ssize_t begin,
                                        py::ssize_t end) {
  std::vector<std::int64_t> offsets{0};
  for (py::ssize_t axis = begin; axis < end; ++axis) {
    const py::ssize_t size = array.shape(axis);
    const py::ssize_t stride = array.strides(axis) / array.itemsize();
    std::vector<std::int64_t> finer;
    finer.reserve(offsets.size() * static_cast<std::size_t>(size));
    for (const std::int64_t offset : offsets) {
      for (py::ssize_t i = 0; i < size; ++i) finer.push_back(offset + i * stride);
    }
    offsets = std::move(finer);
  }
  return offsets;
}

template <class T>
ProductFactor<T> factor_of(const FactorArray& bound, bool is_shared) {
  const auto& [array, n_row_axes] = bound;
  const auto stride = [&array = array](py::ssize_t axis) {
    return array.shape(axis) > 1 ? array.strides(axis) / array.itemsize() : 0;
  };
  return {static_cast<const T*>(array.data()),
          is_shared,
          stride(0),
          stride(1),
          stride(2),
          offsets_along(array, 3, 3 + n_row_axes),
          offsets_along(array, 3 + n_row_axes, array.ndim())};
}

SquareReduction reduction_of(const std::string& name) {
  if (name == "first") return SquareReduction::first;
  if (name == "second") return SquareReduction::second;
  if (name == "pairs") return SquareReduction::pairs;
  throw py::value_error("reduction: expected first, second or pairs, got " + name);
}

void check(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

template <class T>
void run(const FactorArray& left, const FactorArray& right, const std::optional<py::array>& signs,
         const std::string& reduction, double scale, py::array_t<double>& totals, int n_threads) {
  SquaredProducts<T> products;
  products.left = factor_of<T>(left, right.first.shape(0) > 1);
  products.right = factor_of<T>(right, right.first.shape(0) == 1);
  products.n_seeds = std::max(left.first.shape(0), right.first.shape(0));
  products.n_examples = left.first.shape(1);
  products.n_groups = left.first.shape(2);
  products.reduction = reduction_of(reduction);
  products.scale = scale;
  check(products.right.position_offsets.size() == products.left.position_offsets.size(),
        "right: expected as many positions as the left side has");
  check(totals.size() == products.n_groups * products.left.n_rows() * products.right.n_rows(),
        "totals: expected one for each group, row of the left and row of the right side");
  if (signs) {
    check(signs->dtype().is(py::dtype::of<T>()) &&
              signs->size() == products.n_seeds * products.n_examples &&
              (signs->flags() & py::array::c_style) != 0,
          "signs: expected one for each seed and example, of the factors' dtype, contiguous");
    products.signs = static_cast<const T*>(signs->data());
  }
  double* out = totals.mutable_data();
  const bool factorise =
      products.n_positions() == 1 && products.reduction != SquareReduction::pairs;
  run_interruptibly([&] {
    const Parallel parallel(n_threads);
    if (factorise) {
      add_products_of_squares(products, parallel, out);
    } else {
      add_squared_products(products, parallel, out);
    }
  });
}

void add_squares(const FactorArray& left, const FactorArray& right,
                 const std::optional<py::array>& signs, const std::string& reduction, double scale,
                 py::array_t<double>& totals, int n_threads) {
  for (const auto& [array, n_row_axes] : {left, right}) {
    check(n_row_axes >= 0 && array.ndim() >= 3 + n_row_axes,
          "factors: expected axes for seeds, examples, groups and rows");
    check(array.shape(1) == left.first.shape(1) && array.shape(2) == left.first.shape(2),
          "factors: expected as many examples and groups on both sides");
    check(array.shape(0) == 1 || left.first.shape(0) == 1 || right.first.shape(0) == 1,
          "factors: expected seeds on one side alone");
    check(array.dtype().is(left.first.dtype()), "factors: expected one dtype");
  }
  check((totals.flags() & py::array::c_style) != 0, "totals: expected a contiguous array");
  if (left.first.dtype().is(py::dtype::of<float>())) {
    run<float>(left, right, signs, reduction, scale, totals, n_threads);
  } else if (left.first.dtype().is(py::dtype::of<double>())) {
    run<double>(left, right, signs, reduction, scale, totals, n_threads);
  } else {
    throw py::type_error("factors: expected float32 or float64");
  }
}

}  // namespace

void bind_squared_products(py::module_& module) {
  module.def("add_squared_products", &add_squares, py::arg("left"), py::arg("right"),
             py::arg("signs"), py::arg("reduction"), py::arg("scale"),
             py::arg("totals").noconvert(), py::arg("n_threads"));
}

}  // namespace wkmeans
