#include "cpu/intervals/format.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wkmeans {
namespace {

// Steps far above or below all weights are as good as any other there: kept from leaving a double's
// range.
Placement floating(double relative_step, double smallest_step, double largest, int exponent) {
  constexpr double kFine = std::numeric_limits<double>::denorm_min();
  constexpr double kCoarse = 0x1p300;
  const double scaled_step = std::ldexp(smallest_step, exponent);
  const double scaled_largest = std::ldexp(largest, exponent);
  return Placement(CentroidGrid{
      relative_step, exponent == 0 ? smallest_step : std::clamp(scaled_step, kFine, kCoarse),
      exponent == 0 ? largest : std::clamp(scaled_largest, kFine, kCoarse)});
}

}  // namespace

double scale_of(CentroidFormat format, const Points& points, int exponent) {
  return scale_of(format, points.low(0), points.high(points.size() - 1), exponent);
}

double scale_of(CentroidFormat format, double least, double largest, int exponent) {
  const double widest = std::max(std::fabs(least), std::fabs(largest));
  if (format != CentroidFormat::int8 || widest == 0.0) return 1.0;
  return std::ldexp(int8_scale(std::ldexp(widest, -exponent)), exponent);
}

Placement placement_of(CentroidFormat format, double scale, int exponent) {
  return format == CentroidFormat::float64 ? Placement() : storage_of(format, scale, exponent);
}

Placement storage_of(CentroidFormat format, double scale, int exponent) {
  switch (format) {
    case CentroidFormat::float64:
      if (exponent <= 0) break;
      return floating(0x1p-52, 0x1p-1074, std::numeric_limits<double>::max(), exponent);
    case CentroidFormat::float32:
      return floating(0x1p-23, 0x1p-149, 0x1.fffffep127, exponent);
    case CentroidFormat::float16:
      return floating(0x1p-10, 0x1p-24, 65504.0, exponent);
    case CentroidFormat::bfloat16:
      return floating(0x1p-7, 0x1p-133, 0x1.fep127, exponent);
    case CentroidFormat::float8_e4m3fn:
      return floating(0x1p-3, 0x1p-9, 448.0, exponent);
    case CentroidFormat::float8_e5m2:
      return floating(0x1p-2, 0x1p-16, 57344.0, exponent);
    case CentroidFormat::int8:
      return floating(0.0, scale, kInt8Steps * scale, 0);
  }
  return {};
}

}  // namespace wkmeans
