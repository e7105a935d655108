#pragma once

#include <cstdint>
#include <vector>

namespace wkmeans {

// sum_r g_r |(residual_r - P_r x) in the norm of S|^2 as a function of the k unknowns x, without
// its constant: x' left x - 2 right' x, where left is symmetric and positive semidefinite.
struct NormalEquations {
  explicit NormalEquations(std::int64_t size)
      : k(size),
        left(static_cast<std::size_t>(size * size)),
        right(static_cast<std::size_t>(size)) {}

  void add(const NormalEquations& other);

  // An x of least squares: unknowns that depend on others to rounding, or are held, stay zero.
  // Destroys `left`.
  std::vector<double> solve(const std::vector<bool>& held);

  std::int64_t k;
  std::vector<double> left;   // (k, k)
  std::vector<double> right;  // k
};

}  // namespace wkmeans
