#include "cpu/lloyd/lloyd.h"

#include <doctest/doctest.h>

#include "cpu/label/codebook.h"
#include "cpu/lloyd/initial_centroids.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Moments>
struct Problem {
  explicit Problem(Points sorted) : points(std::move(sorted)) {
    pyramid.build(points, Parallel(1));
  }

  std::vector<double> after(int n_rounds, std::vector<double> centroids) const {
    lloyd(points, pyramid, n_rounds, centroids);
    return centroids;
  }

  Points points;
  Pyramid<Moments> pyramid;
};

// One round of Algorithm 2 as the paper prints it: nearest centroid, then the clusters' minimisers.
std::vector<double> slow_round(const Points& points, std::vector<double> centroids) {
  std::vector<Points> clusters(centroids.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::size_t nearest = 0;
    for (std::size_t j = 1; j < centroids.size(); ++j) {
      const Real w = points.weight[i];
      if (std::fabs(w - centroids[j]) < std::fabs(w - centroids[nearest])) nearest = j;
    }
    clusters[nearest].weight.push_back(points.weight[i]);
    clusters[nearest].importance.push_back(points.importance[i]);
    if (points.quartic())
      clusters[nearest].quartic_importance.push_back(points.quartic_importance[i]);
  }
  for (std::size_t j = 0; j < centroids.size(); ++j) {
    if (clusters[j].size() == 0) continue;
    const Position centroid = direct_centroid(clusters[j], 0, clusters[j].size());
    centroids[j] = static_cast<double>(centroid.origin + centroid.offset);
  }
  return centroids;
}

template <class Moments>
void check_never_rises(const Points& points, std::size_t k) {
  const Problem<Moments> problem(points);
  std::vector<double> centroids = linear_centroids(points, k);
  Real cost = direct_cost(points, centroids);
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    centroids = problem.after(1, centroids);
    CHECK(std::is_sorted(centroids.begin(), centroids.end()));
    const Real next = direct_cost(points, centroids);
    // Centroids are rounded to double: around a clump that costs what the rounding moves them.
    Real rounding = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
      const Real ulp = kEpsilon * std::fabs(static_cast<Real>(points.weight[i]));
      rounding += points.importance[i] * ulp * ulp +
                  quartic_importance_of(points, i) * ulp * ulp * ulp * ulp;
    }
    CHECK(next <= cost * (1 + 1e-12) + 4 * rounding);
    cost = next;
  }
}

Items normal_items(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(0.02 * random.normal());
    items.importance.push_back(std::exp(3.0 * random.normal() - 8.0));
    items.quartic_importance.push_back(std::exp(3.0 * random.normal() - 4.0));
  }
  return items;
}

template <class Moments>
void check_follows_the_paper(const Points& points, std::size_t k) {
  const Problem<Moments> problem(points);
  const std::vector<double> start = quantile_centroids(points, k);
  std::vector<double> expected = start;
  for (int n_rounds = 1; n_rounds <= 25; ++n_rounds) {
    expected = slow_round(points, expected);
    const std::vector<double> centroids = problem.after(n_rounds, start);
    for (std::size_t j = 0; j < k; ++j) {
      CHECK(close(centroids[j], expected[j], 1e-12 * std::fabs(expected[j])));
    }
  }
}

}  // namespace

TEST_CASE("a round of Lloyd never raises the cost") {
  for (const std::size_t k : {1u, 2u, 5u, 20u}) {
    for_each_family(80, k, [&](const Items& items, const std::string& name) {
      CAPTURE(k);
      CAPTURE(name);
      const Points quadratic = sorted_points(items, false);
      const Points quartic = sorted_points(items, true);
      check_never_rises<QuadraticMoments>(quadratic, std::min(k, quadratic.size()));
      check_never_rises<QuarticMoments>(quartic, std::min(k, quartic.size()));
    });
  }
}

TEST_CASE("Lloyd follows Algorithm 2 round by round") {
  for (const std::size_t k : {1u, 2u, 7u}) {
    CAPTURE(k);
    const Items items = normal_items(301, k);
    check_follows_the_paper<QuadraticMoments>(sorted_points(items, false), k);
    check_follows_the_paper<QuarticMoments>(sorted_points(items, true), k);
  }
}

TEST_CASE("Lloyd stops where a round would change nothing, and says after how many") {
  const Problem<QuarticMoments> problem(sorted_points(normal_items(500, 3), true));
  std::vector<double> centroids = quantile_centroids(problem.points, 6);
  const int n_rounds = lloyd(problem.points, problem.pyramid, 1000, centroids);
  CHECK(n_rounds > 1);
  CHECK(n_rounds < 1000);
  CHECK(problem.after(1, centroids) == centroids);
  CHECK(problem.after(n_rounds, quantile_centroids(problem.points, 6)) == centroids);
  CHECK(problem.after(n_rounds - 1, quantile_centroids(problem.points, 6)) != centroids);
  std::vector<double> untouched = linear_centroids(problem.points, 6);
  CHECK(lloyd(problem.points, problem.pyramid, 0, untouched) == 0);
  CHECK(untouched == linear_centroids(problem.points, 6));
}

TEST_CASE("a cluster without weights keeps its centroid") {
  Points points;
  points.weight = {0.0, 1.0, 10.0, 11.0};
  points.importance.assign(4, 1.0);
  const Problem<QuadraticMoments> problem(points);
  CHECK(problem.after(9, {-50.0, 0.5, 5.25, 10.5, 90.0}) ==
        std::vector<double>{-50.0, 0.5, 5.25, 10.5, 90.0});
}

TEST_CASE("a weight half way between two centroids goes to the lower") {
  Points points;
  points.weight = {0.0, 1.0, 2.0};
  points.importance.assign(3, 1.0);
  const Problem<QuadraticMoments> problem(points);
  CHECK(problem.after(1, {0.0, 2.0}) == std::vector<double>{0.5, 2.0});
  CHECK(cluster_boundaries(points, {0.0, 2.0}) == std::vector<std::size_t>{2, 3});
  CHECK(cluster_boundaries(points, {0.0, 0.0, 2.0}) == std::vector<std::size_t>{2, 2, 3});
}
