#include "cpu/cluster/cluster.h"

#include <doctest/doctest.h>

#include "cpu/layered/optimal_layers.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

struct Result {
  std::vector<double> centroids;
  std::vector<std::uint8_t> labels;
  std::vector<double> scales, costs, lower_bounds;
  std::vector<std::int64_t> n_iters;

  bool operator==(const Result& other) const {
    return centroids == other.centroids && labels == other.labels && costs == other.costs &&
           lower_bounds == other.lower_bounds && n_iters == other.n_iters;
  }
};

Result clustered(const Items& items, std::size_t n_problems, bool quartic,
                 const ClusterOptions& options) {
  const ItemProblems problems(items, quartic, n_problems);
  Result result;
  result.centroids.resize(n_problems * options.solver.k);
  result.labels.resize(items.size());
  result.n_iters.resize(n_problems);
  for (auto* values : {&result.scales, &result.costs, &result.lower_bounds}) {
    values->resize(n_problems);
  }
  cluster(problems.view(), options,
          ClusterOutput<std::uint8_t>{result.centroids.data(), result.labels.data(),
                                      result.scales.data(), result.costs.data(),
                                      result.lower_bounds.data(), result.n_iters.data()});
  return result;
}

ClusterOptions options_for(std::size_t k, Solver solver, int n_threads = 1) {
  ClusterOptions options;
  options.solver.k = k;
  options.solver.solver = solver;
  options.solver.max_iter = 20;
  options.solver.format = CentroidFormat::float64;
  options.n_threads = n_threads;
  return options;
}

Items normal_items(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(static_cast<double>(static_cast<float>(0.02 * random.normal())));
    items.importance.push_back(std::exp(3.0 * random.normal() - 8.0));
    items.quartic_importance.push_back(std::exp(3.0 * random.normal() - 4.0));
  }
  return items;
}

}  // namespace

TEST_CASE("the optimum costs what its certificate says, and no more than Lloyd") {
  for_each_family(120, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const bool quartic : {false, true}) {
      for (const std::size_t k : {1u, 3u, 16u}) {
        CAPTURE(quartic);
        CAPTURE(k);
        const Result optimum = clustered(items, 1, quartic, options_for(k, Solver::optimal));
        const Result lloyd = clustered(items, 1, quartic, options_for(k, Solver::lloyd));
        CHECK(optimum.lower_bounds[0] <= optimum.costs[0]);
        CHECK(optimum.costs[0] <= lloyd.costs[0] * (1 + 1e-12));
        CHECK(std::is_sorted(optimum.centroids.begin(), optimum.centroids.end()));
      }
    }
  });
}

TEST_CASE("centroids in single precision are the cheapest that it holds") {
  Random random(2);
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    const Items items =
        normal_items(2 + random.below(30), 1000 + static_cast<std::uint64_t>(round));
    ClusterOptions options = options_for(1, Solver::optimal);
    options.solver.format = CentroidFormat::float32;
    const double centroid = clustered(items, 1, true, options).centroids[0];
    const auto single = static_cast<float>(centroid);
    CHECK(static_cast<double>(single) == centroid);
    const Points points = sorted_points(items, true);
    const Real cost = direct_cost(points, {centroid});
    for (const float towards : {-INFINITY, INFINITY}) {
      const Real other =
          direct_cost(points, {static_cast<double>(std::nextafter(single, towards))});
      CHECK(cost <= other * (1 + 1e-13));
    }
  }
}

TEST_CASE("with as many centroids as points the cost is zero and the surplus repeats the largest") {
  Items items;
  items.weight = {2.0, 1.0, 2.0, 5.0};
  items.importance = {1.0, 1.0, 1.0, 0.0};
  items.quartic_importance.assign(4, 0.0);
  for (const Solver solver : {Solver::optimal, Solver::lloyd}) {
    const Result result = clustered(items, 1, false, options_for(4, solver));
    CHECK(result.centroids == std::vector<double>{1.0, 2.0, 2.0, 2.0});
    CHECK(result.labels == std::vector<std::uint8_t>{1, 0, 1, 1});
    CHECK(result.costs[0] == 0.0);
  }
}

TEST_CASE("given centroids serve every problem, or each its own") {
  Items items;
  items.weight = {0.0, 1.0, 9.0, 0.0, 8.0, 9.0};
  items.importance.assign(6, 1.0);
  items.quartic_importance.assign(6, 0.0);
  ClusterOptions options = options_for(2, Solver::lloyd);
  options.solver.init = Init::given;
  options.solver.max_iter = 0;
  options.solver.given_centroids = {6.0, 3.0};
  CHECK(clustered(items, 2, false, options).centroids == std::vector<double>{3.0, 6.0, 3.0, 6.0});
  options.solver.given_centroids = {1.0, 2.0, 7.0, 5.0};
  CHECK(clustered(items, 2, false, options).centroids == std::vector<double>{1.0, 2.0, 5.0, 7.0});
}

TEST_CASE("results are the same to the last bit for every number of threads") {
  struct Case {
    Solver solver;
    std::size_t n_problems, n_items;
  };
  // One on all threads, one by one on all threads, one a thread; several chunks long or short.
  for (const Case& c : {Case{Solver::lloyd, 1, 100001}, Case{Solver::lloyd, 2, 140000},
                        Case{Solver::lloyd, 37, 101}, Case{Solver::optimal, 1, 33001},
                        Case{Solver::optimal, 37, 101}}) {
    CAPTURE(c.n_problems);
    CAPTURE(c.n_items);
    const Items items = normal_items(c.n_problems * c.n_items, 5);
    const Result one = clustered(items, c.n_problems, true, options_for(3, c.solver, 1));
    for (const int n_threads : kThreadCounts) {
      CHECK(clustered(items, c.n_problems, true, options_for(3, c.solver, n_threads)) == one);
    }
  }
}

TEST_CASE("a batch solves each problem as if it were alone") {
  const std::size_t n_items = 211;
  const Items items = normal_items(9 * n_items, 6);
  const Result batch = clustered(items, 9, true, options_for(5, Solver::optimal, 3));
  for (std::size_t p = 0; p < 9; ++p) {
    Items alone;
    const auto cut = [&](const std::vector<double>& values) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(p * n_items);
      return std::vector<double>(first, first + static_cast<std::ptrdiff_t>(n_items));
    };
    alone.weight = cut(items.weight);
    alone.importance = cut(items.importance);
    alone.quartic_importance = cut(items.quartic_importance);
    const Result single = clustered(alone, 1, true, options_for(5, Solver::optimal));
    CHECK(single.costs[0] == batch.costs[p]);
    CHECK(std::equal(single.labels.begin(), single.labels.end(),
                     batch.labels.begin() + static_cast<std::ptrdiff_t>(p * n_items)));
  }
}

TEST_CASE("the cost curve is the optimum for each k, and zero from the distinct count on") {
  Items items = normal_items(300, 7);
  for (std::size_t i = 100; i < 300; ++i) items.weight[i] = items.weight[i % 100];
  const ItemProblems problems(items, true);
  std::vector<double> costs(150);
  cost_curve(problems.view(), costs.size(), Zero::free, CentroidFormat::float64, 2, costs.data());
  for (const std::size_t k : {1u, 2u, 17u, 99u}) {
    CAPTURE(k);
    const double cost = clustered(items, 1, true, options_for(k, Solver::optimal)).costs[0];
    CHECK(cost == doctest::Approx(costs[k - 1]).epsilon(1e-10));
  }
  for (std::size_t k = 1; k < costs.size(); ++k) CHECK(costs[k] <= costs[k - 1]);
  for (std::size_t k = 100; k <= costs.size(); ++k) CHECK(costs[k - 1] == 0.0);
}
