#pragma once

#include "cuda/batch/problem.h"
#include "math/centroid.h"
#include "math/centroid_grid.h"

namespace wkmeans::cuda {

// Where the centroids of the optimum may lie.

struct Anywhere {
  static WKM_HD Anywhere on(const CentroidGrid& /*grid*/) { return {}; }

  template <class Moments>
  WKM_HD double cost(const Moments& moments) const {
    return centre(moments).cost;
  }
  WKM_HD double nearest(double value) const { return value; }
};

struct OnGrid {
  CentroidGrid grid;

  static WKM_HD OnGrid on(const CentroidGrid& grid) { return {grid}; }

  template <class Moments>
  WKM_HD double cost(const Moments& moments) const {
    return best_on(grid, moments).cost;
  }
  WKM_HD double nearest(double value) const { return grid.nearest(value); }
};

// The step between neighbouring centroids of a problem whose weights lie up to `widest` off zero: a
// float32, so that the widest is 127 steps off.
WKM_HD double scale_of(BatchScale scale, double widest) {
  constexpr double kSteps = 127.0;
  constexpr double kLeast = 0x1p-149;  // of a float32
  constexpr double kMost = 0x1.fffffep127;
  if (scale == BatchScale::one || widest == 0.0) return 1.0;
  return static_cast<double>(static_cast<float>(clamp_between(widest / kSteps, kLeast, kMost)));
}

WKM_HD CentroidGrid scaled(const CentroidGrid& grid, double scale) {
  return {grid.relative_step, grid.smallest_step * scale, grid.largest * scale};
}

}  // namespace wkmeans::cuda
