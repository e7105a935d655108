#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"

namespace wkmeans {

// One problem's weights and the mask to write for them, true where a weight is kept.
struct MaskTarget {
  Problems problems;
  std::int64_t problem;
  bool* mask;

  std::int64_t n_items() const { return problems.weights->n_items(); }
};

// Keeps exactly `keep` of the targets' weights taken together, those of largest I w^2 + H w^4; of
// equal scores the one that comes first, in target and then in item order. Scores are float64, I *
// (w * w) + H * ((w * w) * (w * w)). Reads the inputs once, twice where scores tie in masses.
void keep_largest(const std::vector<MaskTarget>& targets, std::int64_t keep,
                  const Parallel& parallel);

// Keeps `keep[p]` weights of each problem on its own; masks are problem-major.
void keep_largest_per_problem(const Problems& problems, std::int64_t keep, int n_threads,
                              bool* mask);

// Keeps `keep` of every `group` consecutive items of each problem.
void keep_pattern(const Problems& problems, std::int64_t keep, std::int64_t group, int n_threads,
                  bool* mask);

}  // namespace wkmeans
