#include "cpu/entropy/entropy_assign.h"

#include <doctest/doctest.h>

#include <limits>
#include <stdexcept>

#include "math/centroid.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// Centroids among the weights with prices of the size of what they cost.
PricedCodebook codebook_for(const Items& items, std::size_t k, bool quartic, Random& random) {
  PricedCodebook codebook;
  for (std::size_t j = 0; j < k; ++j)
    codebook.centroids.push_back(items.weight[random.below(items.size())]);
  std::sort(codebook.centroids.begin(), codebook.centroids.end());
  for (std::size_t j = 0; j < k; ++j) {
    const std::size_t i = random.below(items.size());
    const double square = std::pow(items.weight[i] - codebook.centroids[j], 2);
    const double h = quartic ? items.quartic_importance[i] : 0.0;
    codebook.prices.push_back(items.importance[i] * square + h * square * square);
  }
  return codebook;
}

Real price_of_taking(const Items& items, std::size_t i, bool quartic,
                     const PricedCodebook& codebook, std::size_t j) {
  const Real distance = static_cast<Real>(items.weight[i]) - codebook.centroids[j];
  const Real square = distance * distance;
  const Real h = quartic ? static_cast<Real>(items.quartic_importance[i]) : 0;
  return items.importance[i] * square + h * square * square + codebook.prices[j];
}

Real least_price(const Items& items, std::size_t i, bool quartic, const PricedCodebook& codebook) {
  Real least = INFINITY;
  for (std::size_t j = 0; j < codebook.size(); ++j)
    least = std::min(least, price_of_taking(items, i, quartic, codebook, j));
  return least;
}

struct Found {
  std::vector<std::uint16_t> labels;
  EntropyAssignment assignment;
};

Found assigned(const Items& items, bool quartic, const PricedCodebook& codebook, int n_threads) {
  const ItemProblems problems(items, quartic);
  Found found{std::vector<std::uint16_t>(items.size()), {}};
  found.assignment =
      entropy_assign(problems.view(), 0, codebook, Parallel(n_threads), found.labels.data());
  return found;
}

void check_cheapest(const Items& items, bool quartic, const PricedCodebook& codebook) {
  const Found found = assigned(items, quartic, codebook, 1);
  std::vector<std::int64_t> counts(codebook.size());
  Real direct = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::size_t j = found.labels[i];
    const Real taken = price_of_taking(items, i, quartic, codebook, j);
    const Real least = least_price(items, i, quartic, codebook);
    CHECK(close(taken, least, 8 * kEpsilon * least));
    ++counts[j];
    const Real distance = static_cast<Real>(items.weight[i]) - codebook.centroids[j];
    const Real h = quartic ? static_cast<Real>(items.quartic_importance[i]) : 0;
    direct += (items.importance[i] + h * distance * distance) * distance * distance;
  }
  CHECK(found.assignment.counts == counts);
  CHECK(close(found.assignment.cost(), direct, 1e-12L * direct));
}

}  // namespace

TEST_CASE("every weight takes the label of least cost and price") {
  Random random(1);
  for (const std::size_t k : {1u, 2u, 7u, 16u, 33u}) {
    for_each_family(300, k, [&](const Items& items, const std::string& name) {
      CAPTURE(name);
      for (const bool quartic : {false, true})
        check_cheapest(items, quartic, codebook_for(items, k, quartic, random));
    });
  }
}

TEST_CASE("ties go to the lower label, weights without importance to the least price") {
  Items items;
  items.weight = {0.0, 0.5, 1.0, 0.5};
  items.importance = {1.0, 1.0, 1.0, 0.0};
  items.quartic_importance = {0.0, 0.0, 0.0, 0.0};
  CHECK(assigned(items, false, {{0.0, 1.0}, {0.0, 0.0}}, 1).labels ==
        std::vector<std::uint16_t>{0, 0, 1, 0});
  CHECK(assigned(items, true, {{0.0, 1.0}, {0.25, 0.0}}, 1).labels ==
        std::vector<std::uint16_t>{0, 1, 1, 1});
}

TEST_CASE("the number of threads changes no bit") {
  Random random(2);
  Items items;
  for (int i = 0; i < 200003; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(random.of_decades(-9, 3));
    items.quartic_importance.push_back(random.of_decades(-9, 3));
  }
  const PricedCodebook codebook = codebook_for(items, 19, true, random);
  const Found expected = assigned(items, true, codebook, 1);
  for (const int n_threads : kThreadCounts) {
    const Found found = assigned(items, true, codebook, n_threads);
    CHECK(found.labels == expected.labels);
    for (std::size_t j = 0; j < codebook.size(); ++j) {
      for (int p = 0; p < 3; ++p) {
        CHECK(found.assignment.sums[j].importance[p] == expected.assignment.sums[j].importance[p]);
      }
      for (int p = 0; p < 5; ++p) {
        CHECK(found.assignment.sums[j].quartic_importance[p] ==
              expected.assignment.sums[j].quartic_importance[p]);
      }
    }
  }
}

TEST_CASE("changes of labels are counted") {
  Items items;
  items.weight = {0.0, 1.0, 2.0};
  items.importance = {1.0, 1.0, 1.0};
  items.quartic_importance = {0.0, 0.0, 0.0};
  const ItemProblems problems(items, false);
  std::vector<std::uint8_t> labels{0, 0, 0};
  const PricedCodebook codebook{{0.0, 2.0}, {0.0, 0.5}};
  CHECK(entropy_assign(problems.view(), 0, codebook, Parallel(1), labels.data()).n_changed == 1);
  CHECK(entropy_assign(problems.view(), 0, codebook, Parallel(1), labels.data()).n_changed == 0);
}

TEST_CASE("moments about the codeword give the centroid that the weights give") {
  for_each_family(60, 3, [&](const Items& items, const std::string& name) {
    CAPTURE(name);
    const Points points = sorted_points(items, true);
    const Position direct = direct_centroid(points, 0, points.size());
    const double low = points.weight.front();
    const double high = points.weight.back();
    for (const double origin : {low, high, low + 0.4 * (high - low)}) {
      PowerSums sums;
      for (std::size_t i = 0; i < items.size(); ++i) {
        sums.add(items.weight[i] - origin, items.importance[i], items.quartic_importance[i]);
      }
      const double centroid = centre(sums.about_the_means(origin)).value();
      CHECK(
          close(-direct.distance_to(centroid), 0, 1e-5L * (high - low) + 1e-15L * std::fabs(low)));
    }
  });
}

TEST_CASE("what float64 cannot hold is refused") {
  Items items;
  items.weight = {1e200};
  items.importance = {1.0};
  items.quartic_importance = {0.0};
  CHECK_THROWS_AS(assigned(items, false, {{0.0}, {0.0}}, 1), CostOverflow);
  items.weight = {std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_AS(assigned(items, false, {{0.0}, {0.0}}, 1), InvalidValue);
}
