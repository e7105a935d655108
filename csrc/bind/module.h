#pragma once

#include <pybind11/pybind11.h>

namespace wkmeans {

void bind_problems(pybind11::module_& module);
void bind_cluster(pybind11::module_& module);
void bind_codes(pybind11::module_& module);
void bind_coding(pybind11::module_& module);
void bind_entropy_constrained(pybind11::module_& module);
void bind_feedback(pybind11::module_& module);
void bind_prune(pybind11::module_& module);
void bind_squared_products(pybind11::module_& module);

}  // namespace wkmeans
