#pragma once

#include <optional>
#include <utility>

#include "math/placement.h"

namespace wkmeans {

// Where centroids may lie, decided at run time: anywhere, or on the values of a storage format.
class Placement {
public:
  Placement() = default;
  explicit Placement(const CentroidGrid& grid) : grid_(grid) {}

  const std::optional<CentroidGrid>& grid() const { return grid_; }

  // visit(Anywhere or OnGrid)
  template <class Visit>
  decltype(auto) visit(Visit&& visit) const {
    return grid_ ? std::forward<Visit>(visit)(OnGrid{*grid_})
                 : std::forward<Visit>(visit)(Anywhere{});
  }

  // The least cost of one cluster.
  template <class Moments>
  double cost(const Moments& moments) const {
    return visit([&](const auto& where) { return where.cost(moments); });
  }

  template <class Moments>
  double centroid(const Moments& moments) const {
    return visit([&](const auto& where) { return where.centroid(moments); });
  }

  double nearest(double value) const {
    return visit([&](const auto& where) { return where.nearest(value); });
  }

  // The distance between neighbouring values around `value`.
  double step_at(double value) const {
    return visit([&](const auto& where) { return where.step_at(value); });
  }

private:
  std::optional<CentroidGrid> grid_;
};

}  // namespace wkmeans
