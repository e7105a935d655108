#include <pybind11/stl.h>

#include "bind/interruptible.h"
#include "bind/module.h"
#include "bind/problems.h"
#include "cpu/prune/prune.h"

namespace wkmeans {
namespace {

using Mask = py::array_t<bool>;

Mask mask_of(const BoundProblems& problems) {
  return Mask({problems.n_problems(), problems.n_items()});
}

void check_keep(std::int64_t keep, std::int64_t total) {
  if (keep < 0 || keep > total) {
    throw py::value_error("keep: expected 0 to " + std::to_string(total) + ", got " +
                          std::to_string(keep));
  }
}

Mask bound_prune(const BoundProblems& problems, std::int64_t keep, int n_threads) {
  check_keep(keep, problems.n_items());
  Mask mask = mask_of(problems);
  bool* out = mask.mutable_data();
  const Problems view = problems.view();
  run_interruptibly([&] { keep_largest_per_problem(view, keep, n_threads, out); });
  return mask;
}

std::vector<Mask> bound_prune_together(const std::vector<const BoundProblems*>& together,
                                       std::int64_t keep, int n_threads) {
  std::vector<Mask> masks;
  std::vector<MaskTarget> targets;
  std::int64_t total = 0;
  for (const BoundProblems* problems : together) {
    masks.push_back(mask_of(*problems));
    for (std::int64_t problem = 0; problem < problems->n_problems(); ++problem) {
      targets.push_back(
          {problems->view(), problem, masks.back().mutable_data() + problem * problems->n_items()});
    }
    total += problems->n_problems() * problems->n_items();
  }
  check_keep(keep, total);
  run_interruptibly([&] { keep_largest(targets, keep, Parallel(n_threads)); });
  return masks;
}

Mask bound_prune_pattern(const BoundProblems& problems, std::int64_t keep, std::int64_t group,
                         int n_threads) {
  if (group < 1 || problems.n_items() % group != 0) {
    throw py::value_error("pattern: expected groups that divide " +
                          std::to_string(problems.n_items()) + " items, got groups of " +
                          std::to_string(group));
  }
  check_keep(keep, group);
  Mask mask = mask_of(problems);
  bool* out = mask.mutable_data();
  const Problems view = problems.view();
  run_interruptibly([&] { keep_pattern(view, keep, group, n_threads, out); });
  return mask;
}

}  // namespace

void bind_prune(py::module_& module) {
  module.def("prune", &bound_prune, py::arg("problems"), py::arg("keep"), py::arg("n_threads"));
  module.def("prune_together", &bound_prune_together, py::arg("problems"), py::arg("keep"),
             py::arg("n_threads"));
  module.def("prune_pattern", &bound_prune_pattern, py::arg("problems"), py::arg("keep"),
             py::arg("group"), py::arg("n_threads"));
}

}  // namespace wkmeans
