#include "bind/module.h"

#include <pybind11/numpy.h>

#include "bind/interruptible.h"
#include "cpu/base/isa.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "CPU kernels of wkmeans.";
  wkmeans::remember_main_thread();
  // pybind11 looks NumPy's functions up at the first array, once, and lets go of the GIL meanwhile:
  // not to be met by a thread that outlives the interpreter.
  const pybind11::array_t<double> first_array(0);
  wkmeans::bind_problems(module);
  wkmeans::bind_cluster(module);
  wkmeans::bind_codes(module);
  wkmeans::bind_coding(module);
  wkmeans::bind_entropy_constrained(module);
  wkmeans::bind_feedback(module);
  wkmeans::bind_prune(module);
  wkmeans::bind_squared_products(module);
  module.def("active_isa", [] { return wkmeans::name_of(wkmeans::active_isa()); });
}
