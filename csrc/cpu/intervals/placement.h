#pragma once

#include <optional>

#include "math/centroid.h"
#include "math/centroid_grid.h"

namespace wkmeans {

// Where centroids may lie: anywhere, or on the values of a storage format.
class Placement {
public:
  Placement() = default;
  explicit Placement(const CentroidGrid& grid) : grid_(grid) {}

  const std::optional<CentroidGrid>& grid() const { return grid_; }

  // The least cost of one cluster.
  template <class Moments>
  double cost(const Moments& moments) const {
    return grid_ ? best_on(*grid_, moments).cost : centre(moments).cost;
  }

  template <class Moments>
  double centroid(const Moments& moments) const {
    return grid_ ? best_on(*grid_, moments).value : centre(moments).value();
  }

  double nearest(double value) const { return grid_ ? grid_->nearest(value) : value; }

  // The distance between neighbouring values around `value`.
  double step_at(double value) const { return grid_ ? grid_->step_at(value) : 0.0; }

private:
  std::optional<CentroidGrid> grid_;
};

}  // namespace wkmeans
