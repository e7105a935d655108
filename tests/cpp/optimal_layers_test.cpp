#include "cpu/layered/optimal_layers.h"

#include <doctest/doctest.h>

#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments>
LayeredOptimum solved(const Points& points, std::size_t k, Want want, int n_threads = 1) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  return optimal_layers(points, pyramid, Placement(), k, want, Parallel(n_threads));
}

template <class Moments>
void check_against_brute_force(const Points& points) {
  const std::vector<Real> best = brute_force_costs(points, direct_optimal_cost);
  const std::vector<double> costs = solved<Moments>(points, points.size(), Want::costs).costs;
  REQUIRE(costs.size() == points.size());
  for (std::size_t k = 1; k <= points.size(); ++k) {
    CAPTURE(k);
    CHECK(close(costs[k - 1], best[k - 1], 1e-12 * best[k - 1]));
    const LayeredOptimum optimum = solved<Moments>(points, k, Want::boundaries);
    REQUIRE(optimum.boundaries.size() == k);
    CHECK(optimum.boundaries.back() == points.size());
    CHECK(close(partition_cost(points, optimum.boundaries, direct_optimal_cost), best[k - 1],
                1e-12 * best[k - 1]));
    CHECK(optimum.costs ==
          std::vector<double>(costs.begin(), costs.begin() + static_cast<std::ptrdiff_t>(k)));
  }
}

}  // namespace

TEST_CASE("the layers find the best of all partitions") {
  for (std::size_t n = 1; n <= 9; ++n) {
    for_each_family(n, 40 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      check_against_brute_force<QuadraticMoments>(sorted_points(items, false));
      check_against_brute_force<QuarticMoments>(sorted_points(items, true));
    });
  }
}

TEST_CASE("optimal costs fall, and by less with each cluster") {
  for_each_family(150, 9, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    const Points points = sorted_points(items, true);
    const std::vector<double> costs =
        solved<QuarticMoments>(points, std::min<std::size_t>(points.size(), 40), Want::costs).costs;
    for (std::size_t k = 1; k < costs.size(); ++k) {
      CHECK(costs[k] <= costs[k - 1] * (1 + 1e-12));
      if (k >= 2)
        CHECK(costs[k - 2] - costs[k - 1] >= (costs[k - 1] - costs[k]) - 1e-12 * costs[k - 2]);
    }
  });
}

TEST_CASE("the layers are the same to the last bit for every number of threads") {
  Random random(10);
  Items items;
  for (std::size_t i = 0; i < 3000; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.of_decades(-10, 10));
    items.quartic_importance.push_back(random.of_decades(-10, 10));
  }
  const Points points = sorted_points(items, true);
  const LayeredOptimum one = solved<QuarticMoments>(points, 7, Want::boundaries);
  for (const int n_threads : kThreadCounts) {
    const LayeredOptimum many = solved<QuarticMoments>(points, 7, Want::boundaries, n_threads);
    CHECK(many.costs == one.costs);
    CHECK(many.boundaries == one.boundaries);
  }
}

TEST_CASE("the layers stop at the work they are allowed, whatever the number of threads") {
  Random random(11);
  Items items;
  for (std::size_t i = 0; i < 1500; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.of_decades(-10, 10));
  }
  const Points points = sorted_points(items, false);
  Pyramid<QuadraticMoments> pyramid;
  pyramid.build(points, Parallel(1));
  const auto left_of = [&](double n_intervals, int n_threads) {
    Allowance allowance(n_intervals);
    optimal_layers(points, pyramid, Placement(), 5, Want::costs, Parallel(n_threads), allowance);
    return allowance.left();
  };
  constexpr double kPlenty = 1e9;
  const double needed = kPlenty - left_of(kPlenty, 1);
  CHECK(needed > 4.0 * 1500.0);
  CHECK(needed < layered_work(1500, 5));
  for (const int n_threads : kThreadCounts) {
    CHECK(left_of(needed, n_threads) == 0.0);
    CHECK_THROWS_AS(left_of(needed - 1.0, n_threads), OutOfWork);
  }
}
