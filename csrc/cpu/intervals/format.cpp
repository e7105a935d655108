#include "cpu/intervals/format.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wkmeans {
namespace {

constexpr double kMostInt8Steps = 127.0;

Placement floating(double relative_step, double smallest_step, double largest) {
  return Placement(CentroidGrid{relative_step, smallest_step, largest});
}

}  // namespace

double scale_of(CentroidFormat format, const Points& points) {
  return scale_of(format, points.low(0), points.high(points.size() - 1));
}

double scale_of(CentroidFormat format, double least, double largest) {
  const double widest = std::max(std::fabs(least), std::fabs(largest));
  if (format != CentroidFormat::int8 || widest == 0.0) return 1.0;
  const double scale = std::clamp(widest / kMostInt8Steps,
                                  static_cast<double>(std::numeric_limits<float>::denorm_min()),
                                  static_cast<double>(std::numeric_limits<float>::max()));
  return static_cast<double>(static_cast<float>(scale));
}

Placement placement_of(CentroidFormat format, double scale) {
  switch (format) {
    case CentroidFormat::float64:
      break;
    case CentroidFormat::float32:
      return floating(0x1p-23, 0x1p-149, 0x1.fffffep127);
    case CentroidFormat::float16:
      return floating(0x1p-10, 0x1p-24, 65504.0);
    case CentroidFormat::bfloat16:
      return floating(0x1p-7, 0x1p-133, 0x1.fep127);
    case CentroidFormat::float8_e4m3fn:
      return floating(0x1p-3, 0x1p-9, 448.0);
    case CentroidFormat::float8_e5m2:
      return floating(0x1p-2, 0x1p-16, 57344.0);
    case CentroidFormat::int8:
      return floating(0.0, scale, kMostInt8Steps * scale);
  }
  return {};
}

}  // namespace wkmeans
