#include "cpu/certificate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/lloyd.h"

namespace wkmeans {
namespace {

bool every_point_is_a_centroid(const Points& points, const std::vector<double>& centroids) {
  const std::vector<std::size_t> boundaries = cluster_boundaries(points, centroids);
  std::size_t i = 0;
  for (std::size_t j = 0; j < boundaries.size(); ++j) {
    for (; i < boundaries[j]; ++i) {
      if (points.weight[i] != centroids[j]) return false;
    }
  }
  return true;
}

}  // namespace

double relative_rounding(double count) {
  const double sum = count * 0.5 * std::numeric_limits<double>::epsilon();
  return sum / (1.0 - sum);
}

double Rounding::above(double sum) const {
  if (relative == 0.0 && absolute == 0.0) return sum;
  // The product and the sum below are rounded themselves.
  return sum * (1.0 + (relative + 2.0 * std::numeric_limits<double>::epsilon())) + absolute;
}

double Rounding::below(double bound) const {
  if (!std::isfinite(bound)) return 0.0;
  const double less =
      bound * (1.0 - (relative + 2.0 * std::numeric_limits<double>::epsilon())) - absolute;
  return std::max(0.0, less);
}

double hidden_by_underflow(const Points& points, const std::vector<double>& centroids) {
  if (every_point_is_a_centroid(points, centroids)) return 0.0;
  // Each square may be short of, or beyond, the smallest double, and each product again.
  double importance = 0.0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i == points.pin) continue;  // its centroid is exactly its own
    importance += points.importance[i] + (points.quartic() ? points.quartic_importance[i] : 0.0);
  }
  constexpr double kProducts = 16.0;
  return std::numeric_limits<double>::denorm_min() * kProducts *
         (importance + static_cast<double>(points.size()));
}

}  // namespace wkmeans
