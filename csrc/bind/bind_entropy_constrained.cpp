#include <pybind11/stl.h>

#include "bind/interruptible.h"
#include "bind/labels.h"
#include "bind/module.h"
#include "bind/problems.h"
#include "cpu/entropy/entropy_assign.h"
#include "cpu/entropy/entropy_constrained.h"

namespace wkmeans {
namespace {

template <class Label>
py::tuple run_entropy_constrained(const BoundProblems& problems, const EntropyCodebook& start,
                                  double multiplier, bool include_zero, int max_iter,
                                  int n_threads) {
  py::array_t<Label> labels({problems.n_problems(), problems.n_items()});
  Label* out = labels.mutable_data();
  const Problems view = problems.view();
  const Zero zero = include_zero ? Zero::pinned : Zero::free;
  EntropySolution solution;
  run_interruptibly([&] {
    solution =
        entropy_constrained(view, start, multiplier, zero, max_iter, Parallel(n_threads), out);
  });
  return py::make_tuple(solution.centroids, labels, solution.counts, solution.cost,
                        solution.n_iter);
}

py::tuple bound_entropy_constrained(const BoundProblems& problems, std::vector<double> centroids,
                                    std::vector<double> lengths, double multiplier,
                                    bool include_zero, int max_iter, const std::string& label_dtype,
                                    int n_threads) {
  if (problems.n_problems() != 1) throw py::value_error("weights: expected one problem");
  const EntropyCodebook start{std::move(centroids), std::move(lengths)};
  const std::size_t k = start.centroids.size();
  if (k < 1 || k > 65536 || k != start.lengths.size()) {
    throw py::value_error("start: expected 1 to 65536 centroids, and a length for each");
  }
  return with_label(label_dtype, k, [&](auto label) {
    return run_entropy_constrained<decltype(label)>(problems, start, multiplier, include_zero,
                                                    max_iter, n_threads);
  });
}

// The Python layer knows the caller's array and turns this into its message.
void bind_cost_overflow(py::module_& module) {
  static const py::exception<CostOverflow> cost_overflow(module, "CostOverflow",
                                                         PyExc_OverflowError);
  py::register_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const CostOverflow& error) {
      PyErr_SetObject(cost_overflow.ptr(), py::int_(error.item()).ptr());
    }
  });
}

}  // namespace

void bind_entropy_constrained(py::module_& module) {
  bind_cost_overflow(module);
  module.def("entropy_constrained", &bound_entropy_constrained, py::arg("problems"),
             py::arg("centroids"), py::arg("lengths"), py::arg("multiplier"),
             py::arg("include_zero"), py::arg("max_iter"), py::arg("label_dtype"),
             py::arg("n_threads"));
}

}  // namespace wkmeans
