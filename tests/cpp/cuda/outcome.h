#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "cpu/cluster/cluster.h"
#include "cuda/cluster.h"
#include "host_backend.h"

// The same problem to the CPU and to what runs on a device.
namespace wkmeans::cuda::testing {

struct Outcome {
  Outcome(std::size_t k, std::size_t n) : centroids(k), labels(n) {}

  std::vector<double> centroids;
  std::vector<std::uint16_t> labels;
  double scale = 0.0;
  double cost = 0.0;
  double lower_bound = 0.0;
  std::int64_t n_iter = 0;
};

inline Outcome on_host_backend(const Batch& batch, const ClusterOptions& options) {
  Outcome outcome(options.solver.k, static_cast<std::size_t>(batch.n_items));
  BatchOutputs outputs{};
  outputs.problems.centroids = outcome.centroids.data();
  outputs.problems.labels = outcome.labels.data();
  outputs.problems.label_type = LabelType::uint16;
  outputs.problems.costs = &outcome.cost;
  outputs.problems.lower_bounds = &outcome.lower_bound;
  outputs.problems.scales = &outcome.scale;
  outputs.n_iters = &outcome.n_iter;
  HostBackend backend;
  cluster(backend, batch, options, outputs);
  return outcome;
}

inline Outcome on_cpu(const Problems& problems, const ClusterOptions& options) {
  Outcome outcome(options.solver.k, static_cast<std::size_t>(problems.weights->n_items()));
  wkmeans::cluster(
      problems, options,
      ClusterOutput<std::uint16_t>{outcome.centroids.data(), outcome.labels.data(), &outcome.scale,
                                   &outcome.cost, &outcome.lower_bound, &outcome.n_iter});
  return outcome;
}

inline ClusterOptions options_of(std::size_t k) {
  ClusterOptions options;
  options.solver.k = k;
  options.solver.max_iter = 300;
  options.solver.format = CentroidFormat::float64;
  return options;
}

// Both optimal, whichever optimum each of them found.
inline void check_both_optimal(const Outcome& actual, const Outcome& expected) {
  constexpr double kTolerance = 1e-9;
  constexpr double kUnderflow = 1e-300;
  CHECK(actual.cost <= expected.cost * (1.0 + kTolerance) + kUnderflow);
  CHECK(actual.cost >= expected.lower_bound);
  CHECK(actual.lower_bound <= expected.cost);
  CHECK(actual.lower_bound >= expected.lower_bound * (1.0 - kTolerance) - kUnderflow);
  CHECK(actual.scale == expected.scale);
}

}  // namespace wkmeans::cuda::testing
