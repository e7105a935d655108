#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/cluster/options.h"
#include "cpu/cluster/route.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

struct ClusterOptions {
  SolverOptions solver;
  Zero zero = Zero::free;  // pinned: one centroid is exactly zero
  int n_threads = 1;
  RouteChoice route;  // by tests alone: the best one is taken where nothing is chosen
};

// Where the results of every problem go; problem-major, written in place.
template <class Label>
struct ClusterOutput {
  double* centroids;  // n_problems x k, ascending, exact in the format asked for
  Label* labels;      // n_problems x n_items
  double* scales;     // of int8 centroids, else 1
  double* costs;
  double* lower_bounds;  // by the optimal solver, or where Lloyd is to certify
  std::int64_t* n_iters;
};

// route -> points -> search -> labels -> report, for each problem.
template <class Label>
void cluster(const Problems& problems, const ClusterOptions& options,
             const ClusterOutput<Label>& output);

// costs: n_problems x k_max, the optimum for 1..k_max clusters.
void cost_curve(const Problems& problems, std::size_t k_max, Zero zero, CentroidFormat format,
                int n_threads, double* costs);

// The same for the points of one problem, of which there may be fewer; `pyramid` is scratch.
template <class Moments>
std::vector<double> curve_of(const Points& points, Pyramid<Moments>& pyramid, CentroidFormat format,
                             std::size_t k_max, const Parallel& parallel, int exponent = 0);

}  // namespace wkmeans
