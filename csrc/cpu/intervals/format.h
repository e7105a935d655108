#pragma once

#include "cpu/intervals/placement.h"
#include "cpu/read/points.h"

namespace wkmeans {

enum class CentroidFormat { float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, int8 };

// The step between neighbouring int8 centroids: a float32, so that the widest point is 127 steps
// off zero. 1 for every other format. Where the weights have been multiplied by 2^exponent, so is
// the scale.
double scale_of(CentroidFormat format, const Points& points, int exponent = 0);
double scale_of(CentroidFormat format, double least, double largest, int exponent = 0);

// The values that the format holds, multiplied by 2^exponent as the weights have been; anywhere for
// float64.
Placement placement_of(CentroidFormat format, double scale, int exponent = 0);

// How a centroid is rounded to be returned: to the values of the format, which for float64 are of
// account only where weights have been multiplied out of the denormal.
Placement storage_of(CentroidFormat format, double scale, int exponent = 0);

}  // namespace wkmeans
