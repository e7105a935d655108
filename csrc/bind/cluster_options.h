#pragma once

#include <pybind11/pybind11.h>

namespace wkmeans {

// ClusterOptions as the Python layer makes them; each extension module has its own.
void bind_cluster_options(pybind11::module_& module);

}  // namespace wkmeans
