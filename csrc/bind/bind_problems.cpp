#include <pybind11/stl.h>

#include "bind/module.h"
#include "bind/problems.h"

namespace wkmeans {

void bind_problems(py::module_& module) {
  static py::object invalid_value = py::exception<InvalidValue>(module, "InvalidValue", PyExc_ValueError);
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const InvalidValue& bad) {
      // The Python layer knows the caller's shapes and turns this into its message.
      const py::tuple args = py::make_tuple(bad.name, bad.problem, bad.item, bad.value);
      PyErr_SetObject(invalid_value.ptr(), args.ptr());
    }
  });
  py::class_<BoundProblems>(module, "Problems")
      .def(py::init<const TypedArray&, const std::optional<TypedArray>&, const std::optional<TypedArray>&,
                    std::optional<py::ssize_t>, const std::string&>(),
           py::arg("weights"), py::arg("importance"), py::arg("quartic_importance"), py::arg("axis"),
           py::arg("entry"))
      .def_property_readonly("n_problems", &BoundProblems::n_problems)
      .def_property_readonly("n_items", &BoundProblems::n_items);
}

}  // namespace wkmeans
