#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "cpu/intervals/placement.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

using Boundaries = std::vector<std::size_t>;  // the ends of clusters, in points

// The cheapest clustering into k that a search has met.
template <class Moments>
class Incumbent {
public:
  Incumbent(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
            std::size_t k)
      : points_(points), pyramid_(pyramid), placement_(placement), k_(k) {}

  bool empty() const { return boundaries_.empty(); }
  const Boundaries& boundaries() const { return boundaries_; }
  Boundaries inner_boundaries() const { return {boundaries_.begin(), boundaries_.end() - 1}; }
  double cost() const { return cost_; }

  // Takes these boundaries if they are cheaper and no cluster is empty.
  void take(const Boundaries& boundaries);

  // Takes these, or those that some rounds of Lloyd move them to.
  void take_polished(const Boundaries& boundaries);

  std::vector<double> centroids() const { return centroids_of(boundaries_); }

  // From the clustering that pairs of neighbours make.
  double worth_of_a_centroid() const;

  double cost_of(const Boundaries& boundaries) const;

private:
  std::vector<double> centroids_of(const Boundaries& boundaries) const;
  Boundaries polished(const Boundaries& boundaries) const;

  const Points& points_;
  const Pyramid<Moments>& pyramid_;
  const Placement& placement_;
  const std::size_t k_;
  Boundaries boundaries_;
  double cost_ = std::numeric_limits<double>::infinity();
};

}  // namespace wkmeans
