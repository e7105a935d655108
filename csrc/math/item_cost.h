#pragma once

#include "math/platform.h"

namespace wkmeans {

// What one weight costs at a distance from its centroid: I d^2 + H d^4.
WKM_HD double item_cost(double distance, double importance) {
  return importance * (distance * distance);
}
WKM_HD double item_cost(double distance, double importance, double quartic_importance) {
  const double square = distance * distance;
  return importance * square + quartic_importance * (square * square);
}

// The same at any distance: an importance of zero costs nothing even where a power is infinite.
WKM_HD double safe_item_cost(double distance, double importance, double quartic_importance) {
  const double square = distance * distance;
  const double quadratic = importance > 0.0 ? importance * square : 0.0;
  const double quartic = quartic_importance > 0.0 ? quartic_importance * (square * square) : 0.0;
  return quadratic + quartic;
}

// What points of these importances cost at most, all within `width` of their centroid. A bound or a
// measure of where to look, in fewer operations than the sum itself.
WKM_HD double cost_within(double width, double importance, double quartic_importance) {
  const double square = width * width;
  return square * (importance + quartic_importance * square);
}

}  // namespace wkmeans
