#include "cpu/small_optimal.h"

#include <doctest/doctest.h>

#include "cpu/centroid_format.h"
#include "cpu/optimal_layers.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments>
void check_against_brute_force(const Points& points) {
  const std::vector<Real> best = brute_force_costs(points, direct_optimal_cost);
  for (std::size_t k = 1; k < points.size(); ++k) {
    CAPTURE(k);
    const std::optional<Optimum> optimum = small_optimum<Moments>(points, Placement(), k);
    REQUIRE(optimum.has_value());
    CHECK(optimum->boundaries.back() == points.size());
    const Real cost = partition_cost(points, optimum->boundaries, direct_optimal_cost);
    CHECK(close(cost, best[k - 1], 1e-11 * best[k - 1]));
    CHECK(optimum->lower_bound <= best[k - 1]);
    CHECK(optimum->lower_bound >= best[k - 1] * (1 - 1e-9));
  }
}

template <class Moments>
void check_against_layers(const Points& points, const Placement& placement) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  const std::size_t most = std::min<std::size_t>(points.size() - 1, 16);
  const std::vector<double> costs =
      optimal_layers(points, pyramid, placement, most, Want::costs, Parallel(1)).costs;
  for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{7}, most}) {
    if (k > most) continue;
    CAPTURE(k);
    const std::optional<Optimum> optimum = small_optimum<Moments>(points, placement, k);
    if (!optimum) continue;  // gave up, and says so
    const Real cost = partition_cost(points, optimum->boundaries,
                                     [&](const Points&, std::size_t begin, std::size_t end) {
                                       return placement.cost(pyramid.range(begin, end));
                                     });
    CHECK(close(cost, costs[k - 1], 1e-10 * costs[k - 1]));
    CHECK(optimum->lower_bound <= costs[k - 1] * (1 + 1e-13));
    CHECK(optimum->lower_bound >= costs[k - 1] * (1 - 1e-9));
  }
}

}  // namespace

TEST_CASE("the small search finds the best of all partitions and never certifies more") {
  for (std::size_t n = 2; n <= 9; ++n) {
    for_each_family(n, 160 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      check_against_brute_force<QuadraticMoments>(sorted_points(items, false));
      check_against_brute_force<QuarticMoments>(sorted_points(items, true));
    });
  }
}

TEST_CASE("the small search costs what the layers cost") {
  for_each_family(300, 112, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    check_against_layers<QuadraticMoments>(sorted_points(items, false), Placement());
    check_against_layers<QuarticMoments>(sorted_points(items, true), Placement());
  });
}

TEST_CASE("the small search costs what the layers cost on the values of a format") {
  for (const CentroidFormat format :
       {CentroidFormat::float16, CentroidFormat::float8_e4m3fn, CentroidFormat::int8}) {
    CAPTURE(static_cast<int>(format));
    for_each_family(200, 113, [&](const Items& items, const std::string& name) {
      if (name.find("normal") != 0) return;
      CAPTURE(name);
      const Points points = sorted_points(items, true);
      const Placement placement = placement_of(format, scale_of(format, points));
      check_against_layers<QuarticMoments>(points, placement);
      check_against_layers<QuadraticMoments>(sorted_points(items, false), placement);
    });
  }
}

TEST_CASE("the small search closes on ordinary problems") {
  Random random(114);
  for (int round = 0; round < 50; ++round) {
    CAPTURE(round);
    Items items;
    for (std::size_t i = 0; i < 512; ++i) {
      items.weight.push_back(random.normal());
      items.importance.push_back(std::exp(3.0 * random.normal() - 8.0));
      items.quartic_importance.push_back(std::exp(3.0 * random.normal() - 4.0));
    }
    CHECK(small_optimum<QuadraticMoments>(sorted_points(items, false), Placement(), 8));
    CHECK(small_optimum<QuarticMoments>(sorted_points(items, true), Placement(), 8));
  }
}
