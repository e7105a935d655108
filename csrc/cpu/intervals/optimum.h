#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace wkmeans {

// A clustering of sorted points into intervals, and its certificate.
struct Optimum {
  std::vector<std::size_t> boundaries;  // cluster j ends before boundaries[j]
  double cost = 0.0;
  double lower_bound = 0.0;  // no clustering costs less
  int n_rounds = 1;
};

inline bool is_certified(const Optimum& optimum) {
  constexpr double kCertified = 1e-9;
  return std::isfinite(optimum.cost) &&
         optimum.cost - optimum.lower_bound <= kCertified * optimum.cost;
}

}  // namespace wkmeans
