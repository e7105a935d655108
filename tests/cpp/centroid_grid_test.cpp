#include "math/centroid_grid.h"

#include <doctest/doctest.h>

#include "cpu/intervals/format.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

struct Format {
  CentroidFormat format;
  std::vector<double> values;  // ascending
};

// Every finite value of a floating-point format, from its bits.
std::vector<double> values_of(int exponent_bits, int fraction_bits, double largest) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  std::vector<double> values;
  for (int exponent = 0; exponent < (1 << exponent_bits); ++exponent) {
    for (int fraction = 0; fraction < (1 << fraction_bits); ++fraction) {
      const double share = std::ldexp(fraction, -fraction_bits);
      const double value =
          exponent == 0 ? std::ldexp(share, 1 - bias) : std::ldexp(1.0 + share, exponent - bias);
      if (value > largest) continue;
      values.push_back(value);
      if (value > 0.0) values.push_back(-value);
    }
  }
  std::sort(values.begin(), values.end());
  return values;
}

constexpr double kInt8Scale = 0.375;

std::vector<double> int8_values() {
  std::vector<double> values;
  for (int step = -127; step <= 127; ++step) values.push_back(step * kInt8Scale);
  return values;
}

std::vector<Format> formats() {
  return {{CentroidFormat::float16, values_of(5, 10, 65504.0)},
          {CentroidFormat::float8_e4m3fn, values_of(4, 3, 448.0)},
          {CentroidFormat::float8_e5m2, values_of(5, 2, 57344.0)},
          {CentroidFormat::int8, int8_values()}};
}

double slow_nearest(const std::vector<double>& values, double value) {
  return *std::min_element(values.begin(), values.end(), [&](double a, double b) {
    return std::fabs(static_cast<Real>(a) - value) < std::fabs(static_cast<Real>(b) - value);
  });
}

}  // namespace

TEST_CASE("a grid's nearest value is the format's, the lower in a tie") {
  Random random(1);
  for (const Format& format : formats()) {
    CAPTURE(static_cast<int>(format.format));
    const CentroidGrid grid = *placement_of(format.format, kInt8Scale).grid();
    const std::vector<double>& values = format.values;
    for (std::size_t i = 0; i < values.size(); i += 1 + values.size() / 600) {
      CHECK(grid.nearest(values[i]) == values[i]);
      CHECK(grid.at_or_below(values[i]) == values[i]);
      if (i + 1 == values.size()) continue;
      const double middle = (values[i] + values[i + 1]) / 2;
      CHECK(grid.at_or_below(middle) == values[i]);
      CHECK(grid.at_or_above(middle) == values[i + 1]);
      CHECK(grid.nearest(middle) == values[i]);
    }
    for (int round = 0; round < 300; ++round) {
      const double value = random.of_decades(-9, 6) * (random.below(2) ? 1.0 : -1.0);
      CAPTURE(value);
      CHECK(grid.nearest(value) == slow_nearest(values, value));
    }
  }
}

TEST_CASE("single precision and bfloat16 round as a cast does") {
  Random random(2);
  const CentroidGrid single = *placement_of(CentroidFormat::float32, 1.0).grid();
  const CentroidGrid brain = *placement_of(CentroidFormat::bfloat16, 1.0).grid();
  for (int round = 0; round < 20000; ++round) {
    const double value = random.of_decades(-44, 38) * (random.below(2) ? 1.0 : -1.0);
    CAPTURE(value);
    CHECK(single.nearest(value) == static_cast<double>(static_cast<float>(value)));
    const double step = std::ldexp(1.0, std::max(std::ilogb(value) - 7, -133));
    CHECK(std::fabs(brain.nearest(value) - value) <= step / 2);
    CHECK(std::remainder(brain.nearest(value), step) == 0.0);
  }
}

TEST_CASE("the best centroid on a grid is the best of all its values") {
  for (const Format& format : formats()) {
    if (format.values.size() > 1000) continue;  // every value is tried
    CAPTURE(static_cast<int>(format.format));
    const CentroidGrid grid = *placement_of(format.format, kInt8Scale).grid();
    for_each_family(7, 3, [&](const Items& items, const std::string& name) {
      CAPTURE(name);
      const Points points = sorted_points(items, true);
      QuarticMoments moments{};
      for (std::size_t i = 0; i < points.size(); ++i) {
        moments = merge(moments, QuarticMoments::of(points.weight[i], points.importance[i],
                                                    points.quartic_importance[i]));
      }
      const PlacedCentroid best = best_on(grid, moments);
      Real least = INFINITY;
      for (const double value : format.values) {
        least = std::min(least, direct_cost(points, 0, points.size(), {value, 0}));
      }
      CHECK(std::binary_search(format.values.begin(), format.values.end(), best.value));
      CHECK(close(best.cost, least, 1e-12 * least));
      CHECK(close(direct_cost(points, 0, points.size(), {best.value, 0}), least, 1e-12 * least));
    });
  }
}
