#include "cpu/lloyd/initial_centroids.h"

#include <doctest/doctest.h>

#include <set>

#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

Points unit_points(const std::vector<double>& weights) {
  Points points;
  points.importance.assign(weights.size(), 1.0);
  points.weight.assign(weights.begin(), weights.end());
  return points;
}

}  // namespace

TEST_CASE("every init gives k ascending centroids between the ends") {
  for_each_family(60, 1, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    const Points points = sorted_points(items, true);
    for (std::size_t k = 1; k <= points.size(); k += 1 + k / 3) {
      CAPTURE(k);
      for (const auto& centroids : {quantile_centroids(points, k), linear_centroids(points, k),
                                    kmeans_plus_plus_centroids(points, k, 3)}) {
        CHECK(centroids.size() == k);
        CHECK(std::is_sorted(centroids.begin(), centroids.end()));
        CHECK(centroids.front() >= points.weight.front());
        CHECK(centroids.back() <= points.weight.back());
      }
    }
  });
}

TEST_CASE("quantiles lie at the middles of equal shares, linear ones at equal distances") {
  const Points points = unit_points({0.0, 1.0, 2.0, 3.0, 4.0, 9.0});
  CHECK(quantile_centroids(points, 1) == std::vector<double>{3.0});
  CHECK(quantile_centroids(points, 3) == std::vector<double>{1.0, 3.0, 9.0});
  CHECK(quantile_centroids(points, 6) == plain(points.weight));
  CHECK(linear_centroids(points, 1) == std::vector<double>{4.5});
  CHECK(linear_centroids(points, 3) == std::vector<double>{0.0, 4.5, 9.0});
}

TEST_CASE("linear centroids do not overflow between the ends of the range") {
  const double huge = std::numeric_limits<double>::max();
  CHECK(linear_centroids(unit_points({-huge, huge}), 1) == std::vector<double>{0.0});
  CHECK(linear_centroids(unit_points({-huge, huge}), 2) == std::vector<double>{-huge, huge});
}

TEST_CASE("k-means++ draws distinct points, the same ones for the same seed") {
  Random random(4);
  Items items;
  for (std::size_t i = 0; i < 3000; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.of_decades(-20, 20));
    items.quartic_importance.push_back(0.0);
  }
  const Points points = sorted_points(items, false);
  const std::set<double> weights(points.weight.begin(), points.weight.end());
  for (const std::size_t k : {1u, 2u, 40u, 3000u}) {
    CAPTURE(k);
    const std::vector<double> centroids = kmeans_plus_plus_centroids(points, k, 1);
    CHECK(centroids == kmeans_plus_plus_centroids(points, k, 1));
    CHECK(std::set<double>(centroids.begin(), centroids.end()).size() == k);
    for (const double centroid : centroids) CHECK(weights.count(centroid) == 1);
  }
  CHECK(kmeans_plus_plus_centroids(points, 40, 1) != kmeans_plus_plus_centroids(points, 40, 2));
}

TEST_CASE("k-means++ draws the first point by importance and the second by cost") {
  // Point 1 has half of the importance. From it, the others cost 1 * 1^2 and 3 * 3^2 in 28.
  Points points = unit_points({0.0, 1.0, 4.0});
  points.importance = {1.0, 4.0, 3.0};
  int n_first = 0;
  int n_second = 0;
  const int n_draws = 20000;
  for (int seed = 0; seed < n_draws; ++seed) {
    const auto one = kmeans_plus_plus_centroids(points, 1, static_cast<std::uint64_t>(seed));
    if (one.front() != 1.0) continue;
    ++n_first;
    n_second +=
        kmeans_plus_plus_centroids(points, 2, static_cast<std::uint64_t>(seed)).back() == 4.0;
  }
  // Five standard deviations on either side.
  CHECK(std::fabs(n_first - n_draws / 2.0) < 5 * std::sqrt(n_draws / 4.0));
  const double share = 27.0 / 28.0;
  CHECK(std::fabs(n_second - n_first * share) < 5 * std::sqrt(n_first * share * (1 - share)));
}
