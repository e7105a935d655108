#include "cpu/cluster/optimal.h"

#include <doctest/doctest.h>

#include "cpu/intervals/format.h"
#include "cpu/layered/optimal_layers.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments>
Optimum solved(const Points& points, const Placement& placement, std::size_t k, int n_threads = 1) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  return optimal(points, pyramid, placement, k, Parallel(n_threads));
}

template <class Moments>
std::vector<double> layer_costs(const Points& points, const Placement& placement, std::size_t k) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  return optimal_layers(points, pyramid, placement, k, Want::costs, Parallel(1)).costs;
}

template <class Moments>
void check_against_brute_force(const Points& points) {
  const std::vector<Real> best = brute_force_costs(points, direct_optimal_cost);
  for (std::size_t k = 1; k < points.size(); ++k) {
    CAPTURE(k);
    const Optimum optimum = solved<Moments>(points, Placement(), k);
    REQUIRE(optimum.boundaries.size() == k);
    CHECK(optimum.boundaries.back() == points.size());
    const Real cost = partition_cost(points, optimum.boundaries, direct_optimal_cost);
    CHECK(close(cost, best[k - 1], 1e-11 * best[k - 1]));
    CHECK(optimum.lower_bound <= best[k - 1]);
    CHECK(optimum.lower_bound >= best[k - 1] * (1 - 1e-9));
  }
}

template <class Moments>
void check_against_layers(const Points& points, const Placement& placement) {
  const std::size_t most = std::min<std::size_t>(points.size() - 1, 40);
  const std::vector<double> costs = layer_costs<Moments>(points, placement, most);
  for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{7}, most}) {
    if (k > most) continue;
    CAPTURE(k);
    const Optimum optimum = solved<Moments>(points, placement, k);
    const Real cost = partition_cost(
        points, optimum.boundaries, [&](const Points&, std::size_t begin, std::size_t end) {
          Moments moments{};
          for (std::size_t i = begin; i < end; ++i) {
            moments = merge(moments, point_moments<Moments>(points, i));
          }
          return placement.cost(moments);
        });
    CHECK(close(cost, costs[k - 1], 1e-10 * costs[k - 1]));
    CHECK(optimum.lower_bound <= cost * (1 + 1e-13));
    CHECK(optimum.lower_bound >= cost * (1 - 1e-9));
  }
}

}  // namespace

TEST_CASE("branch and bound finds the best of all partitions and never certifies more") {
  for (std::size_t n = 2; n <= 9; ++n) {
    for_each_family(n, 60 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      check_against_brute_force<QuadraticMoments>(sorted_points(items, false));
      check_against_brute_force<QuarticMoments>(sorted_points(items, true));
    });
  }
}

TEST_CASE("branch and bound costs what the layers cost") {
  for_each_family(300, 12, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_against_layers<QuadraticMoments>(sorted_points(items, false), Placement());
    check_against_layers<QuarticMoments>(sorted_points(items, true), Placement());
  });
}

// The pin outweighs all other importances by far more decades than two doubles hold.
TEST_CASE("branch and bound costs what the layers cost around a pinned zero") {
  for_each_family(300, 15, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const bool quartic : {false, true}) {
      Points points = sorted_points(items, quartic);
      pin_zero(points);
      if (quartic) {
        check_against_layers<QuarticMoments>(points, Placement());
      } else {
        check_against_layers<QuadraticMoments>(points, Placement());
      }
    }
  });
}

TEST_CASE("branch and bound costs what the layers cost on the values of a format") {
  for (const CentroidFormat format :
       {CentroidFormat::float16, CentroidFormat::float8_e4m3fn, CentroidFormat::int8}) {
    CAPTURE(static_cast<int>(format));
    Random random(13);
    Items items;
    for (std::size_t i = 0; i < 300; ++i) {
      items.weight.push_back(random.normal());
      items.importance.push_back(random.of_decades(-6, 0));
      items.quartic_importance.push_back(random.of_decades(-6, 0));
    }
    const Points points = sorted_points(items, true);
    const Placement placement = placement_of(format, scale_of(format, points));
    check_against_layers<QuarticMoments>(points, placement);
    check_against_layers<QuadraticMoments>(sorted_points(items, false), placement);
  }
}

TEST_CASE("branch and bound is the same to the last bit for every number of threads") {
  Random random(14);
  Items items;
  for (std::size_t i = 0; i < 40000; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.of_decades(-6, 0));
    items.quartic_importance.push_back(random.of_decades(-6, 0));
  }
  const Points points = sorted_points(items, true);
  for (const std::size_t k : {3u, 64u}) {
    const Optimum one = solved<QuarticMoments>(points, Placement(), k);
    for (const int n_threads : kThreadCounts) {
      const Optimum many = solved<QuarticMoments>(points, Placement(), k, n_threads);
      CHECK(many.boundaries == one.boundaries);
      CHECK(many.lower_bound == one.lower_bound);
      CHECK(many.n_rounds == one.n_rounds);
    }
  }
}

TEST_CASE(
    "branch and bound that runs out of work tells its best clustering and a bound that holds") {
  for_each_family(300, 16, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    const Points points = sorted_points(items, true);
    const std::size_t k = std::min<std::size_t>(points.size() - 1, 20);
    const double best = layer_costs<QuarticMoments>(points, Placement(), k).back();
    Pyramid<QuarticMoments> pyramid;
    pyramid.build(points, Parallel(1));
    for (const double n_intervals : {0.0, 3e3, 3e4, 1e5}) {
      CAPTURE(n_intervals);
      const auto found_by = [&](int n_threads) {
        Allowance allowance(n_intervals);
        return branch_and_bound(points, pyramid, Placement(), k, allowance, Parallel(n_threads));
      };
      const Optimum found = found_by(1);
      REQUIRE(found.boundaries.size() == k);
      CHECK(found.boundaries.back() == points.size());
      CHECK(found.cost >= best * (1 - 1e-12));
      CHECK(found.lower_bound <= best * (1 + 1e-12));
      const Optimum again = found_by(3);
      CHECK(again.boundaries == found.boundaries);
      CHECK(again.lower_bound == found.lower_bound);
    }
  });
}

// Every probe of a multiplier is a sweep over all points: steps towards it must not stay short.
TEST_CASE("costs hundreds of decades apart take a few sweeps") {
  Random random(17);
  Items items;
  for (std::size_t i = 0; i < 3000; ++i) {
    items.weight.push_back(0x1p62 * random.of_decades(-250, 0));
    items.importance.push_back(random.of_decades(-200, 100));
    items.quartic_importance.push_back(random.of_decades(-200, 80));
  }
  const Points points = sorted_points(items, true);
  Pyramid<QuarticMoments> pyramid;
  pyramid.build(points, Parallel(1));
  for (const std::size_t k : {80u, 300u, 1500u}) {
    CAPTURE(k);
    constexpr double kPlenty = 1e12;
    constexpr double kWorkOfAPoint = 1000.0;  // some fifteen sweeps
    Allowance allowance(kPlenty);
    branch_and_bound(points, pyramid, Placement(), k, allowance, Parallel(1));
    CHECK(kPlenty - allowance.left() < kWorkOfAPoint * static_cast<double>(points.size()));
  }
}
