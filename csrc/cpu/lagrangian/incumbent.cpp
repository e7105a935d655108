#include "cpu/lagrangian/incumbent.h"

#include <algorithm>

#include "cpu/intervals/bounds.h"
#include "cpu/label/codebook.h"
#include "cpu/lloyd/lloyd.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

bool has_empty(const Boundaries& boundaries) {
  return boundaries.front() == 0 ||
         std::adjacent_find(boundaries.begin(), boundaries.end()) != boundaries.end();
}

}  // namespace

template <class Moments>
void Incumbent<Moments>::take(const Boundaries& boundaries) {
  if (has_empty(boundaries)) return;
  const double cost = cost_of(boundaries);
  if (!(cost < cost_)) return;
  cost_ = cost;
  boundaries_ = boundaries;
}

template <class Moments>
void Incumbent<Moments>::take_polished(const Boundaries& boundaries) {
  if (has_empty(boundaries)) return;
  take(polished(boundaries));
  take(boundaries);
}

template <class Moments>
double Incumbent<Moments>::worth_of_a_centroid() const {
  Boundaries merged;
  for (std::size_t j = 1; j < k_; j += 2) merged.push_back(boundaries_[j]);
  if (merged.empty() || merged.back() != points_.size()) merged.push_back(points_.size());
  const double cost = cost_of(merged);
  return merged.size() < k_ ? wkmeans::worth_of_a_centroid(cost, merged.size(), k_) : cost;
}

template <class Moments>
double Incumbent<Moments>::cost_of(const Boundaries& boundaries) const {
  double cost = 0.0;
  std::size_t begin = 0;
  for (const std::size_t end : boundaries) {
    cost += placement_.cost(pyramid_.range(begin, end));
    begin = end;
  }
  return cost;
}

template <class Moments>
std::vector<double> Incumbent<Moments>::centroids_of(const Boundaries& boundaries) const {
  std::vector<double> centroids;
  std::size_t begin = 0;
  for (const std::size_t end : boundaries) {
    centroids.push_back(centre(pyramid_.range(begin, end)).value());
    begin = end;
  }
  std::sort(centroids.begin(), centroids.end());
  return centroids;
}

template <class Moments>
Boundaries Incumbent<Moments>::polished(const Boundaries& boundaries) const {
  constexpr int kLloydRounds = 20;
  std::vector<double> centroids = centroids_of(boundaries);
  lloyd(points_, pyramid_, kLloydRounds, centroids);
  const Boundaries moved = cluster_boundaries(points_, centroids);
  return has_empty(moved) ? boundaries : moved;
}

template class Incumbent<QuadraticMoments>;
template class Incumbent<QuarticMoments>;

}  // namespace wkmeans
