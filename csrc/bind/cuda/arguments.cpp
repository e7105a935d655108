#include "bind/cuda/arguments.h"

#include <pybind11/stl.h>

#include <map>
#include <optional>

namespace wkmeans::cuda {
namespace {

ItemType type_named(const std::string& name) {
  static const std::map<std::string, ItemType> types{{"float16", ItemType::float16},
                                                     {"bfloat16", ItemType::bfloat16},
                                                     {"float32", ItemType::float32},
                                                     {"float64", ItemType::float64}};
  const auto found = types.find(name);
  if (found == types.end())
    throw py::type_error("dtype: expected float16, bfloat16, float32 or float64, got " + name);
  return found->second;
}

LabelType label_type_named(const std::string& name) {
  if (name == "uint8") return LabelType::uint8;
  if (name == "uint32") return LabelType::uint32;
  throw py::value_error("label dtype: expected uint8 or uint32, got " + name);
}

BatchOperand make_operand(std::uintptr_t address, const std::string& dtype,
                          std::int64_t problem_stride, std::int64_t item_stride) {
  return {pointer_to<const void>(address), type_named(dtype), problem_stride, item_stride};
}

Batch make_batch(std::int64_t n_problems, std::int64_t n_items, const BatchOperand& weights,
                 const std::optional<BatchOperand>& importance,
                 const std::optional<BatchOperand>& quartic_importance) {
  if (n_problems < 1 || n_items < 1) throw py::value_error("weights: expected some, got none");
  return {n_problems, n_items, weights, importance.value_or(BatchOperand{}),
          quartic_importance.value_or(BatchOperand{})};
}

}  // namespace

BatchOutputs Results::outputs() const {
  BatchOutputs outputs{};
  outputs.problems.centroids = pointer_to<double>(centroids);
  outputs.problems.labels = pointer_to<void>(labels);
  outputs.problems.label_type = label_type_named(label_dtype);
  outputs.problems.scales = pointer_to<double>(scales);
  outputs.problems.costs = pointer_to<double>(costs);
  outputs.problems.lower_bounds = pointer_to<double>(lower_bounds);
  outputs.n_iters = pointer_to<std::int64_t>(n_iters);
  return outputs;
}

void bind_arguments(py::module_& module) {
  py::class_<BatchOperand>(module, "Operand")
      .def(py::init(&make_operand), py::arg("address"), py::arg("dtype"), py::arg("problem_stride"),
           py::arg("item_stride"));
  py::class_<Batch>(module, "Batch")
      .def(py::init(&make_batch), py::arg("n_problems"), py::arg("n_items"), py::arg("weights"),
           py::arg("importance"), py::arg("quartic_importance"))
      .def_readonly("n_problems", &Batch::n_problems)
      .def_readonly("n_items", &Batch::n_items);
  py::class_<Results>(module, "Results")
      .def(py::init<std::uintptr_t, std::uintptr_t, std::string, std::uintptr_t, std::uintptr_t,
                    std::uintptr_t, std::uintptr_t>(),
           py::arg("centroids"), py::arg("labels"), py::arg("label_dtype"), py::arg("scales"),
           py::arg("costs"), py::arg("lower_bounds"), py::arg("n_iters"));
  py::class_<BoundQueue>(module, "Queue")
      .def(py::init<std::uintptr_t, py::function>(), py::arg("stream"), py::arg("allocate"));
}

}  // namespace wkmeans::cuda
