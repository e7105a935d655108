#pragma once

#include "math/centroid.h"
#include "math/centroid_grid.h"

namespace wkmeans {

// Where the centroids of the optimum may lie: anywhere, or on the values of a format. Loops over
// many clusters are compiled for either.

struct Anywhere {
  static WKM_HD Anywhere on(const CentroidGrid& /*grid*/) { return {}; }

  template <class Moments>
  WKM_HD double cost(const Moments& moments) const {
    return centre(moments).cost;
  }
  // The same where the free optimum and its cost are known.
  template <class Moments>
  WKM_HD double cost_near(const Moments&, double /*optimum*/, double free_cost) const {
    return free_cost;
  }
  template <class Moments>
  WKM_HD double centroid(const Moments& moments) const {
    return centre(moments).value();
  }
  WKM_HD double nearest(double value) const { return value; }
  WKM_HD double step_at(double /*value*/) const { return 0.0; }
};

struct OnGrid {
  CentroidGrid grid;

  static WKM_HD OnGrid on(const CentroidGrid& grid) { return {grid}; }

  template <class Moments>
  WKM_HD double cost(const Moments& moments) const {
    return best_on(grid, moments).cost;
  }
  template <class Moments>
  WKM_HD double cost_near(const Moments& moments, double optimum, double /*free_cost*/) const {
    return best_of_neighbours(moments, optimum, grid).cost;
  }
  template <class Moments>
  WKM_HD double centroid(const Moments& moments) const {
    return best_on(grid, moments).value;
  }
  WKM_HD double nearest(double value) const { return grid.nearest(value); }
  WKM_HD double step_at(double value) const { return grid.step_at(value); }
};

}  // namespace wkmeans
