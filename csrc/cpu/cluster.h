#pragma once

#include <cstdint>
#include <vector>

#include "cpu/operand.h"
#include "cpu/points.h"

namespace wkmeans {

enum class Solver { optimal, lloyd };
enum class Init { quantile, linear, kmeans_plus_plus, given };
enum class CentroidFormat { float32, float64 };

struct ClusterOptions {
  std::size_t k = 0;
  Solver solver = Solver::optimal;
  Init init = Init::quantile;
  std::vector<double> given_centroids;  // Init::given: k of them, or k for each problem
  int max_iter = 0;
  std::uint64_t seed = 0;
  CentroidFormat format = CentroidFormat::float32;
  Zero zero = Zero::free;  // pinned: one centroid is exactly zero
  int n_threads = 1;
};

// Where the results of every problem go; problem-major, written in place.
template <class Label>
struct ClusterOutput {
  double* centroids;  // n_problems x k, ascending, exact in the format asked for
  Label* labels;      // n_problems x n_items
  double* costs;
  double* lower_bounds;  // written by the optimal solver only
  std::int64_t* n_iters;
};

template <class Label>
void cluster(const Problems& problems, const ClusterOptions& options,
             const ClusterOutput<Label>& output);

// costs: n_problems x k_max, the optimum for 1..k_max clusters.
void cost_curve(const Problems& problems, std::size_t k_max, Zero zero, int n_threads,
                double* costs);

}  // namespace wkmeans
