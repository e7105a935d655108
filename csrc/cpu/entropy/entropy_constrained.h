#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/entropy/entropy_codebook.h"
#include "cpu/read/points.h"

namespace wkmeans {

struct EntropySolution {
  std::vector<double> centroids;  // ascending, each named by some label
  std::vector<std::int64_t> counts;
  double cost = 0.0;
  int n_iter = 0;
};

// Entropy-constrained Lloyd (Chou, Lookabaugh, Gray 1989) under importances: alternates the
// assignment of least cost + multiplier * bits, the centroids of least cost for it and the code
// lengths -log2(count / n) that suit it. None of the three raises the Lagrangian cost + multiplier
// * entropy. Codewords without weights are dropped. Stops after `max_iter` refits or where no label
// changes; no refits leave the first assignment. With Zero::pinned a centroid that is exactly zero
// stays there. Where no importances are given the way is made on sorted weights.
template <class Label>
EntropySolution entropy_constrained(const Problems& problems, const EntropyCodebook& start,
                                    double multiplier, Zero zero, int max_iter,
                                    const Parallel& parallel, Label* labels);

}  // namespace wkmeans
