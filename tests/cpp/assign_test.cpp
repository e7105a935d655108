#include "cpu/label/assign.h"

#include <doctest/doctest.h>

#include "cpu/label/codebook.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// The first of the nearest centroids. Long double holds the difference of two floats exactly.
std::size_t slow_label(double weight, const std::vector<double>& centroids) {
  const auto distance = [&](double c) { return std::fabs(static_cast<Real>(weight) - c); };
  std::size_t nearest = 0;
  for (std::size_t j = 1; j < centroids.size(); ++j) {
    if (distance(centroids[j]) < distance(centroids[nearest])) nearest = j;
  }
  return nearest;
}

// Weights of few bits, so that many lie exactly half way between two centroids.
Items items_with_ties(std::size_t n, Random& random) {
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    const double grid = static_cast<double>(random.below(2000)) / 64.0 - 10.0;
    items.weight.push_back(
        random.below(4) ? grid : static_cast<double>(static_cast<float>(30 * random.normal())));
    items.importance.push_back(random.of_decades(-10, 0));
    items.quartic_importance.push_back(random.of_decades(-10, 0));
  }
  return items;
}

std::vector<double> random_centroids(std::size_t k, Random& random) {
  std::vector<double> centroids;
  for (std::size_t j = 0; j < k; ++j) {
    const bool repeats = j > 0 && random.below(10) == 0;
    centroids.push_back(repeats ? centroids.back()
                                : static_cast<double>(random.below(4000)) / 128.0 - 10.0);
  }
  std::sort(centroids.begin(), centroids.end());
  return centroids;
}

template <class Label>
void check_assign(const Items& items, bool quartic, const std::vector<double>& centroids) {
  const ItemProblems problems(items, quartic);
  std::vector<Label> labels(items.size());
  const double cost = assign(problems.view(), 0, centroids, false, Parallel(1), labels.data());
  int n_wrong = 0;
  Real expected = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::size_t label = slow_label(items.weight[i], centroids);
    n_wrong += labels[i] != label;
    const Real square = std::pow(static_cast<Real>(items.weight[i]) - centroids[label], 2);
    expected += items.importance[i] * square +
                (quartic ? items.quartic_importance[i] * square * square : 0);
  }
  CHECK(n_wrong == 0);
  CHECK(close(cost, expected, 1e-13 * expected));
  for (const int n_threads : kThreadCounts) {
    std::vector<Label> same(items.size());
    CHECK(assign(problems.view(), 0, centroids, false, Parallel(n_threads), same.data()) == cost);
    CHECK(same == labels);
  }
}

}  // namespace

TEST_CASE("labels name the nearest centroid, the lower in a tie, and the cost is theirs") {
  Random random(1);
  for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 33u, 1000u, 70001u}) {
    for (const std::size_t k : {1u, 2u, 3u, 4u, 5u, 16u, 17u, 256u}) {
      CAPTURE(n);
      CAPTURE(k);
      const Items items = items_with_ties(n, random);
      const std::vector<double> centroids = random_centroids(k, random);
      check_assign<std::uint8_t>(items, n % 2 == 0, centroids);
      if (n <= 1000) check_assign<std::uint16_t>(items, true, centroids);
      if (n <= 1000) check_assign<std::uint32_t>(items, false, centroids);
    }
  }
}

TEST_CASE("labels beyond 256 centroids") {
  Random random(2);
  const Items items = items_with_ties(3001, random);
  check_assign<std::uint16_t>(items, true, random_centroids(300, random));
  check_assign<std::uint32_t>(items, true, random_centroids(3000, random));
}

TEST_CASE("with unit importance each weight costs its square") {
  Items items;
  items.weight = {0.0, 1.0, 4.0};
  items.importance.assign(3, 0.0);
  items.quartic_importance.assign(3, 0.0);
  const ItemProblems problems(items, true);
  std::vector<std::uint8_t> labels(3);
  CHECK(assign(problems.view(), 0, {0.5, 2.0}, true, Parallel(1), labels.data()) ==
        0.25 + 0.25 + 4.0);
  CHECK(labels == std::vector<std::uint8_t>{0, 0, 1});
}

TEST_CASE("thresholds count the centroids to the left, equal ones as one") {
  std::vector<double> thresholds;
  label_thresholds({1.0}, thresholds);
  CHECK(thresholds.empty());
  label_thresholds({0.0, 0.0, 2.0, 4.0, 4.0, 4.0}, thresholds);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(thresholds == std::vector<double>{1.0, 1.0, 3.0, infinity, infinity});
}
