#include "bind/problems.h"

#include <stdexcept>

namespace wkmeans {
namespace {

DType dtype_named(const std::string& name) {
  if (name == "float16") return DType::float16;
  if (name == "bfloat16") return DType::bfloat16;
  if (name == "float32") return DType::float32;
  if (name == "float64") return DType::float64;
  throw py::type_error("dtype: expected float16, bfloat16, float32 or float64, got " + name);
}

Operand make_operand(const std::string& name, const TypedArray& typed,
                     std::optional<py::ssize_t> axis) {
  const py::array& array = typed.first;
  const DType dtype = dtype_named(typed.second);
  if (static_cast<std::size_t>(array.itemsize()) != size_of(dtype)) {
    throw py::type_error(name + ": its items are not of dtype " + typed.second);
  }
  std::vector<Dimension> problem_dims;
  std::vector<Dimension> item_dims;
  for (py::ssize_t d = 0; d < array.ndim(); ++d) {
    auto& dims = !axis || d == *axis ? item_dims : problem_dims;
    dims.push_back({array.shape(d), array.strides(d)});
  }
  return {name, static_cast<const std::byte*>(array.data()), dtype, problem_dims, item_dims};
}

std::optional<Operand> make_optional(const std::string& name,
                                     const std::optional<TypedArray>& typed,
                                     std::optional<py::ssize_t> axis, const py::array& weights) {
  if (!typed) return std::nullopt;
  const py::array& array = typed->first;
  bool same_shape = array.ndim() == weights.ndim();
  for (py::ssize_t d = 0; same_shape && d < array.ndim(); ++d)
    same_shape = array.shape(d) == weights.shape(d);
  if (!same_shape) throw py::value_error(name + ": expected the shape of the weights");
  return make_operand(name, *typed, axis);
}

}  // namespace

BoundProblems::BoundProblems(const TypedArray& weights, const std::optional<TypedArray>& importance,
                             const std::optional<TypedArray>& quartic_importance,
                             std::optional<py::ssize_t> axis, const std::string& entry)
    : weights_(make_operand("weights" + entry, weights, axis)),
      importance_(make_optional("importance" + entry, importance, axis, weights.first)),
      quartic_importance_(
          make_optional("quartic_importance" + entry, quartic_importance, axis, weights.first)) {
  if (weights_.n_items() == 0 || weights_.n_problems() == 0)
    throw py::value_error("weights: expected some, got none");
  keep_alive_.push_back(weights.first);
  if (importance) keep_alive_.push_back(importance->first);
  if (quartic_importance) keep_alive_.push_back(quartic_importance->first);
}

Problems BoundProblems::view() const {
  return {&weights_, importance_ ? &*importance_ : nullptr,
          quartic_importance_ ? &*quartic_importance_ : nullptr};
}

}  // namespace wkmeans
