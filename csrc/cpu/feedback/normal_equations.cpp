#include "cpu/feedback/normal_equations.h"

#include <algorithm>
#include <cmath>

namespace wkmeans {
namespace {

// Pivots below this part of the largest are what rounding leaves of zero.
constexpr double kRounding = 1e-13;

}  // namespace

void NormalEquations::add(const NormalEquations& other) {
  for (std::size_t i = 0; i < left.size(); ++i) left[i] += other.left[i];
  for (std::size_t i = 0; i < right.size(); ++i) right[i] += other.right[i];
}

// Elimination with the largest pivot left, relative to what the unknown's own diagonal was, so that
// clusters of hardly any importance are not taken for dependent ones.
std::vector<double> NormalEquations::solve(const std::vector<bool>& held) {
  std::vector<double> scale(static_cast<std::size_t>(k));
  std::vector<std::int64_t> order;
  std::vector<std::int64_t> waiting;
  const auto at = [&](std::int64_t i, std::int64_t j) -> double& {
    return left[static_cast<std::size_t>(i * k + j)];
  };
  for (std::int64_t j = 0; j < k; ++j) {
    scale[static_cast<std::size_t>(j)] = at(j, j);
    if (!held[static_cast<std::size_t>(j)] && at(j, j) > 0.0) waiting.push_back(j);
  }
  std::vector<double> x = right;
  while (!waiting.empty()) {
    const auto share = [&](std::int64_t j) {
      return at(j, j) / scale[static_cast<std::size_t>(j)];
    };
    const auto pivot =
        std::max_element(waiting.begin(), waiting.end(),
                         [&](std::int64_t a, std::int64_t b) { return share(a) < share(b); });
    const std::int64_t p = *pivot;
    if (!(share(p) > kRounding * static_cast<double>(k))) break;
    waiting.erase(pivot);
    order.push_back(p);
    for (const std::int64_t i : waiting) {
      const double factor = at(i, p) / at(p, p);
      for (const std::int64_t j : waiting) at(i, j) -= factor * at(p, j);
      x[static_cast<std::size_t>(i)] -= factor * x[static_cast<std::size_t>(p)];
    }
  }
  std::vector<double> solution(static_cast<std::size_t>(k), 0.0);
  for (std::size_t i = order.size(); i-- > 0;) {
    const std::int64_t p = order[i];
    double sum = x[static_cast<std::size_t>(p)];
    for (std::size_t j = i + 1; j < order.size(); ++j) {
      sum -= at(p, order[j]) * solution[static_cast<std::size_t>(order[j])];
    }
    solution[static_cast<std::size_t>(p)] = sum / at(p, p);
  }
  return solution;
}

}  // namespace wkmeans
