#include <pybind11/stl.h>

#include "bind/module.h"
#include "bind/problems.h"

namespace wkmeans {

void bind_problems(py::module_& module) {
  // The Python layer knows the caller's arrays and turns this into its message.
  py::register_exception<InvalidValue>(module, "InvalidValue", PyExc_ValueError);
  py::class_<BoundProblems>(module, "Problems")
      .def(py::init<const TypedArray&, const std::optional<TypedArray>&,
                    const std::optional<TypedArray>&, std::optional<py::ssize_t>,
                    const std::string&>(),
           py::arg("weights"), py::arg("importance"), py::arg("quartic_importance"),
           py::arg("axis"), py::arg("entry"))
      .def_property_readonly("n_problems", &BoundProblems::n_problems)
      .def_property_readonly("n_items", &BoundProblems::n_items);
}

}  // namespace wkmeans
