#pragma once

#include "cpu/intervals/placement.h"
#include "cpu/read/points.h"

namespace wkmeans {

enum class CentroidFormat { float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, int8 };

// The step between neighbouring int8 centroids: a float32, so that the widest point is 127 steps
// off zero. 1 for every other format.
double scale_of(CentroidFormat format, const Points& points);
double scale_of(CentroidFormat format, double least, double largest);

// The values that the format holds; anywhere for float64.
Placement placement_of(CentroidFormat format, double scale);

}  // namespace wkmeans
