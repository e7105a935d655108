#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/cluster/solve.h"
#include "cuda/large/sorted_weights.h"

// The host's share of a problem: what grows with the number of weights is done where they are held,
// the solver of csrc/cpu works on sums over groups of them (narrowing.h), or on the different
// weights themselves where these are as few as such sums.
namespace wkmeans::cuda {

struct Solved {
  Solution solution;
  double hidden = 0.0;  // what underflow may hide in the cost
};

Solved solve_sorted(SortedWeights& weights, const SolverOptions& options, Zero zero,
                    std::int64_t problem, const Parallel& parallel);
Solved solve_points(const Points& points, const SolverOptions& options, std::int64_t problem,
                    const Parallel& parallel);

// The optimal cost with 1..k_max clusters.
std::vector<double> curve_of_sorted(SortedWeights& weights, std::size_t k_max, Zero zero,
                                    CentroidFormat format, const Parallel& parallel);
std::vector<double> curve_of_points(const Points& points, std::size_t k_max, CentroidFormat format,
                                    const Parallel& parallel);

}  // namespace wkmeans::cuda
