#include "bind/module.h"

#include "cpu/base/isa.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "CPU kernels of wkmeans.";
  wkmeans::bind_problems(module);
  wkmeans::bind_cluster(module);
  wkmeans::bind_codes(module);
  wkmeans::bind_entropy_constrained(module);
  wkmeans::bind_feedback(module);
  wkmeans::bind_prune(module);
  wkmeans::bind_squared_products(module);
  module.def("active_isa", [] { return wkmeans::name_of(wkmeans::active_isa()); });
}
