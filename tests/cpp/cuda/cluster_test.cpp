#include "cuda/cluster.h"

#include <doctest/doctest.h>

#include <cmath>

#include "cpu/cluster.h"
#include "host_backend.h"
#include "support.h"

namespace wkmeans::cuda::testing {
namespace {

using wkmeans::testing::for_each_family;
using wkmeans::testing::ItemProblems;
using wkmeans::testing::Items;
using wkmeans::testing::Random;

struct Outcome {
  explicit Outcome(std::size_t k, std::size_t n) : centroids(k), labels(n) {}

  std::vector<double> centroids;
  std::vector<std::uint16_t> labels;
  double scale = 0.0;
  double cost = 0.0;
  double lower_bound = 0.0;
  std::int64_t n_iter = 0;
};

SmallOperand operand_of(const std::vector<double>& values) {
  return {values.data(), ItemType::float64, static_cast<std::int64_t>(values.size()), 1};
}

SmallBatch batch_of(const Items& items, bool quartic) {
  SmallBatch batch;
  batch.n_problems = 1;
  batch.n_items = static_cast<std::int64_t>(items.size());
  batch.weights = operand_of(items.weight);
  batch.importance = operand_of(items.importance);
  if (quartic) batch.quartic_importance = operand_of(items.quartic_importance);
  return batch;
}

Outcome on_host_backend(const SmallBatch& batch, const ClusterOptions& options) {
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

Outcome on_cpu(const Problems& problems, const ClusterOptions& options) {
  Outcome outcome(options.solver.k, static_cast<std::size_t>(problems.weights->n_items()));
  wkmeans::cluster(problems, options,
                   ClusterOutput<std::uint16_t>{outcome.centroids.data(), outcome.labels.data(),
                                                &outcome.scale, &outcome.cost, &outcome.lower_bound,
                                                &outcome.n_iter});
  return outcome;
}

void check_same(const Outcome& actual, const Outcome& expected) {
  CHECK(actual.cost <= expected.cost * (1.0 + 1e-9) + 1e-300);
  CHECK(actual.cost >= expected.lower_bound * (1.0 - 1e-9));
  CHECK(actual.lower_bound <= expected.cost);
  CHECK(actual.lower_bound >= expected.lower_bound * (1.0 - 1e-9) - 1e-300);
  CHECK(actual.scale == expected.scale);
}

ClusterOptions options_of(std::size_t k) {
  ClusterOptions options;
  options.solver.k = k;
  options.solver.max_iter = 300;
  options.solver.format = CentroidFormat::float64;
  return options;
}

}  // namespace

TEST_CASE("a device's optimum is the CPU's, few weights of every family") {
  for_each_family(200, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const bool quartic : {false, true}) {
      for (const std::size_t k : {1, 3, 9}) {
        ClusterOptions options = options_of(k);
        for (const Zero zero : {Zero::free, Zero::pinned}) {
          options.zero = zero;
          const ItemProblems problems(items, quartic);
          check_same(on_host_backend(batch_of(items, quartic), options),
                     on_cpu(problems.view(), options));
        }
      }
    }
  });
}

TEST_CASE("a device's optimum is the CPU's, many weights of every family") {
  std::size_t count = 0;
  for_each_family(40000, 2, [&](const Items& items, const std::string& name) {
    if (++count % 3 != 0) return;  // a third of the families: the CPU takes its time
    CAPTURE(name);
    const bool quartic = count % 2 == 0;
    ClusterOptions options = options_of(count % 5 + 2);
    options.zero = count % 4 == 0 ? Zero::pinned : Zero::free;
    const ItemProblems problems(items, quartic);
    check_same(on_host_backend(batch_of(items, quartic), options),
               on_cpu(problems.view(), options));
  });
}

}  // namespace wkmeans::cuda::testing
