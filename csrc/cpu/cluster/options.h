#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/intervals/format.h"
#include "cpu/read/points.h"

namespace wkmeans {

enum class Solver { optimal, lloyd };
enum class Init { quantile, linear, kmeans_plus_plus, given };

struct SolverOptions {
  std::size_t k = 0;
  Solver solver = Solver::optimal;
  Init init = Init::quantile;
  std::vector<double> given_centroids;  // Init::given: k of them, or k for each problem
  int max_iter = 0;
  bool certify = false;  // Lloyd: the optimum's lower bound beside its own result
  std::uint64_t seed = 0;
  CentroidFormat format = CentroidFormat::float32;
  bool optimal_in_format = false;  // the optimum among the format's values, not the optimum rounded
  int exponent = 0;  // the weights, and with them the format, have been multiplied by 2^exponent

  std::vector<double> given_for(std::int64_t problem) const;

  // Where the optimum's centroids may lie.
  Placement placement(double scale) const {
    return optimal_in_format ? placement_of(format, scale, exponent) : Placement();
  }
  bool has_grid() const { return placement(1.0).grid().has_value(); }
};

}  // namespace wkmeans
