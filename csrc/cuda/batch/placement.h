#pragma once

#include "cuda/batch/problem.h"
#include "math/centroid_grid.h"
#include "math/placement.h"

namespace wkmeans::cuda {

// The step between neighbouring centroids of a problem whose weights lie up to `widest` off zero.
WKM_HD double scale_of(BatchScale scale, double widest) {
  return scale == BatchScale::one || widest == 0.0 ? 1.0 : int8_scale(widest);
}

WKM_HD CentroidGrid scaled(const CentroidGrid& grid, double scale) {
  return {grid.relative_step, grid.smallest_step * scale, grid.largest * scale};
}

}  // namespace wkmeans::cuda
