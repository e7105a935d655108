#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <vector>

#include "cpu/base/operand.h"

namespace wkmeans {

namespace py = pybind11;

// An array and the dtype its bytes hold: NumPy has no bfloat16, whose bits come as uint16.
using TypedArray = std::pair<py::array, std::string>;

// Python arrays of one shape seen as problems: along `axis`, or all items together where it is
// absent. Holds references, so that the arrays outlive the kernel that reads them without the GIL.
class BoundProblems {
public:
  // `entry` names the arrays in errors where there are several: weights['fc1'].
  BoundProblems(const TypedArray& weights, const std::optional<TypedArray>& importance,
                const std::optional<TypedArray>& quartic_importance,
                std::optional<py::ssize_t> axis, const std::string& entry);

  Problems view() const;
  std::int64_t n_problems() const { return weights_.n_problems(); }
  std::int64_t n_items() const { return weights_.n_items(); }

private:
  std::vector<py::array> keep_alive_;
  Operand weights_;
  std::optional<Operand> importance_;
  std::optional<Operand> quartic_importance_;
};

}  // namespace wkmeans
