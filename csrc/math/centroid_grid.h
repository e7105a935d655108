#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "math/centroid.h"
#include "math/platform.h"

namespace wkmeans {

// The values that a storage format holds: multiples of a step that doubles with every binade
// (floating point) or stays (integers with a scale). A cluster's cost is convex in its centroid, so
// the best value of the format is one of the two around the free optimum (Lemma 13), and the
// interval costs stay Monge (Lemma 2).
struct CentroidGrid {
  double relative_step;  // step / binade; 0 where the step is the same everywhere
  double smallest_step;
  double largest;

  WKM_HD double step_at(double value) const {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= 0x7ff0000000000000u;  // the exponent alone: 2^floor(log2 |value|)
    double binade;
    std::memcpy(&binade, &bits, sizeof binade);
    const double step = binade * relative_step;
    return step > smallest_step ? step : smallest_step;
  }

  WKM_HD double at_or_below(double value) const {
    const double step = step_at(value);
    return clamp_between(std::floor(value / step) * step, -largest, largest);
  }

  WKM_HD double at_or_above(double value) const {
    const double step = step_at(value);
    return clamp_between(std::ceil(value / step) * step, -largest, largest);
  }

  // Ties go to the lower value, as labels do.
  WKM_HD double nearest(double value) const {
    const double low = at_or_below(value);
    const double high = at_or_above(value);
    return high - value < value - low ? high : low;
  }
};

constexpr double kInt8Steps = 127.0;

// The step between neighbouring int8 centroids of weights up to `widest` off zero: a float32, so
// that the widest is 127 steps off.
WKM_HD double int8_scale(double widest) {
  constexpr double kLeast = 0x1p-149;  // of a float32
  constexpr double kMost = 0x1.fffffep127;
  return static_cast<double>(static_cast<float>(clamp_between(widest / kInt8Steps, kLeast, kMost)));
}

struct PlacedCentroid {
  double value;
  double cost;
};

template <class Moments>
WKM_HD PlacedCentroid best_of_neighbours(const Moments& moments, double optimum,
                                         const CentroidGrid& grid) {
  const double low = grid.at_or_below(optimum);
  const double high = grid.at_or_above(optimum);
  const double low_cost = cost_about(moments, low);
  const double high_cost = cost_about(moments, high);
  return {low_cost <= high_cost ? low : high, low_cost <= high_cost ? low_cost : high_cost};
}

template <class Moments>
WKM_HD PlacedCentroid best_on(const CentroidGrid& grid, const Moments& moments) {
  return best_of_neighbours(moments, centre(moments).value(), grid);
}

}  // namespace wkmeans
