#include "cuda/cluster.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "batches.h"
#include "math/half.h"
#include "outcome.h"

namespace wkmeans::cuda::testing {
namespace {

void check_both_optimal(const Items& items, bool quartic, const ClusterOptions& options) {
  const ItemProblems problems(items, quartic);
  check_both_optimal(on_host_backend(batch_of(items, quartic), options),
                     on_cpu(problems.view(), options));
}

Items normal_items(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.below(4) ? random.uniform(0.0, 2.0) : 0.0);
    items.quartic_importance.push_back(random.uniform(0.0, 1.0));
  }
  return items;
}

std::vector<float> as_floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("the optimum is the CPU's: few weights of every family") {
  for_each_family(200, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const bool quartic : {false, true}) {
      for (const std::size_t k : {1, 3, 9}) {
        for (const Zero zero : {Zero::free, Zero::pinned}) {
          ClusterOptions options = options_of(k);
          options.zero = zero;
          check_both_optimal(items, quartic, options);
        }
      }
    }
  });
}

TEST_CASE("the optimum is the CPU's: more weights than sums are fetched at first") {
  std::size_t count = 0;
  for_each_family(40000, 2, [&](const Items& items, const std::string& name) {
    if (++count % 3 != 0) return;  // a third of the families: the CPU takes its time
    CAPTURE(name);
    ClusterOptions options = options_of(count % 5 + 1);
    options.zero = count % 4 == 0 ? Zero::pinned : Zero::free;
    check_both_optimal(items, count % 2 == 0, options);
  });
}

TEST_CASE("the optimum in a format is the CPU's") {
  const Items items = normal_items(40000, 3);
  for (const CentroidFormat format :
       {CentroidFormat::float8_e4m3fn, CentroidFormat::int8, CentroidFormat::bfloat16}) {
    for (const std::size_t k : {4, 40, 300}) {  // more than int8 has values
      for (const Zero zero : {Zero::free, Zero::pinned}) {
        ClusterOptions options = options_of(k);
        options.solver.format = format;
        options.solver.optimal_in_format = true;
        options.zero = zero;
        check_both_optimal(items, k == 4, options);
      }
    }
  }
}

TEST_CASE("many clusters, float32 with the importance as payload") {
  Items items = normal_items(60000, 4);
  const std::vector<float> weights = as_floats(items.weight);
  const std::vector<float> importance = as_floats(items.importance);
  Batch batch;
  batch.n_problems = 1;
  batch.n_items = static_cast<std::int64_t>(items.size());
  batch.weights = operand_of(weights);
  batch.importance = operand_of(importance);
  items.weight.assign(weights.begin(), weights.end());
  items.importance.assign(importance.begin(), importance.end());
  const ItemProblems problems(items, false);
  const ClusterOptions options = options_of(256);
  check_both_optimal(on_host_backend(batch, options), on_cpu(problems.view(), options));
}

TEST_CASE("few different weights among many, all of them zero importance, and none of them") {
  Items items = normal_items(50000, 5);
  for (double& weight : items.weight) weight = std::round(weight * 8.0);
  check_both_optimal(items, false, options_of(7));
  check_both_optimal(items, true, options_of(7));
  const Outcome plenty = on_host_backend(batch_of(items, false), options_of(1000));
  CHECK(plenty.cost == 0.0);
  CHECK(plenty.lower_bound == 0.0);

  items = normal_items(50000, 6);
  items.importance.assign(items.size(), 0.0);
  const Outcome none = on_host_backend(batch_of(items, false), options_of(4));
  items.importance.assign(items.size(), 1.0);
  check_both_optimal(none, on_cpu(ItemProblems(items, false).view(), options_of(4)));
}

TEST_CASE("Lloyd makes the CPU's rounds") {
  const Items items = normal_items(40000, 7);
  for (const Init init : {Init::quantile, Init::linear, Init::given}) {
    for (const Zero zero : {Zero::free, Zero::pinned}) {
      for (const bool quartic : {false, true}) {
        ClusterOptions options = options_of(12);
        options.solver.solver = Solver::lloyd;
        options.solver.init = init;
        if (init == Init::given) {
          for (int j = 0; j < 12; ++j) options.solver.given_centroids.push_back(0.1 * j - 0.5);
        }
        options.zero = zero;
        const ItemProblems problems(items, quartic);
        const Outcome actual = on_host_backend(batch_of(items, quartic), options);
        const Outcome expected = on_cpu(problems.view(), options);
        CHECK(actual.n_iter == expected.n_iter);
        CHECK(actual.labels == expected.labels);
        CHECK(actual.cost == doctest::Approx(expected.cost).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("Lloyd certifies, and says where it cannot draw") {
  const Items items = normal_items(40000, 8);
  ClusterOptions options = options_of(6);
  options.solver.solver = Solver::lloyd;
  options.solver.certify = true;
  const Outcome certified = on_host_backend(batch_of(items, false), options);
  options.solver.solver = Solver::optimal;
  CHECK(certified.lower_bound == on_host_backend(batch_of(items, false), options).lower_bound);
  options.solver.solver = Solver::lloyd;
  options.solver.init = Init::kmeans_plus_plus;
  CHECK_THROWS_AS(on_host_backend(batch_of(items, false), options), std::invalid_argument);
}

TEST_CASE("halves that all count 1 are counted") {
  Random random(9);
  std::vector<std::uint16_t> bits(200000);
  for (std::uint16_t& value : bits) {
    value = static_cast<std::uint16_t>(random.below(0x4000) | (random.below(2) ? 0x8000 : 0));
  }
  bits[7] = 0x8000;  // -0
  Items items;
  for (const std::uint16_t value : bits) {
    items.weight.push_back(static_cast<double>(float16_to_float(value)));
    items.importance.push_back(1.0);
    items.quartic_importance.push_back(0.0);
  }
  Batch batch;
  batch.n_problems = 1;
  batch.n_items = static_cast<std::int64_t>(bits.size());
  batch.weights = operand_of(bits);
  const ItemProblems problems(items, false);
  for (const Zero zero : {Zero::free, Zero::pinned}) {
    ClusterOptions options = options_of(16);
    options.zero = zero;
    check_both_optimal(on_host_backend(batch, options), on_cpu(problems.view(), options));
  }
  bits[150001] = 0x7c00;  // infinity
  CHECK_THROWS_WITH_AS(on_host_backend(batch, options_of(2)), "weights", BadValue);
}

TEST_CASE("cost curves are the CPU's") {
  for (const std::size_t n : {300, 30000}) {
    const Items items = normal_items(n, 10);
    for (const bool quartic : {false, true}) {
      for (const CentroidFormat format : {CentroidFormat::float64, CentroidFormat::int8}) {
        const ItemProblems problems(items, quartic);
        std::vector<double> expected(6);
        wkmeans::cost_curve(problems.view(), expected.size(), Zero::pinned, format, 1,
                            expected.data());
        std::vector<double> actual(expected.size());
        HostBackend backend;
        cost_curve(backend, batch_of(items, quartic), actual.size(), Zero::pinned, format, 1,
                   actual.data());
        for (std::size_t i = 0; i < actual.size(); ++i)
          CHECK(actual[i] == doctest::Approx(expected[i]).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("bad values are named") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::size_t n : {10, 5000}) {
    Items items = normal_items(n, 11);
    items.weight[n / 2] = nan;
    CHECK_THROWS_WITH_AS(on_host_backend(batch_of(items, true), options_of(2)), "weights",
                         BadValue);
    items.weight[n / 2] = 0.0;
    items.importance[n - 1] = -1.0;
    CHECK_THROWS_WITH_AS(on_host_backend(batch_of(items, true), options_of(2)), "importance",
                         BadValue);
    items.importance[n - 1] = 0.0;
    items.quartic_importance[0] = std::numeric_limits<double>::infinity();
    CHECK_THROWS_WITH_AS(on_host_backend(batch_of(items, true), options_of(2)),
                         "quartic_importance", BadValue);
  }
}

}  // namespace wkmeans::cuda::testing
