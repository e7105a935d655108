#pragma once

#include <cstdint>
#include <vector>

#include "cpu/read/points.h"

namespace wkmeans {

// Starting centroids for Lloyd, ascending; all need 1 <= k <= points.size().

// The points at the middles of k equal shares of the ranks.
std::vector<double> quantile_centroids(const Points& points, std::size_t k);
std::vector<std::size_t> quantile_ranks(std::size_t n_points, std::size_t k);

// Evenly spaced from the smallest point to the largest (Han et al. 2015a); the middle for k = 1.
std::vector<double> linear_centroids(const Points& points, std::size_t k);
std::vector<double> linear_centroids(double low, double high, std::size_t k);

// Points drawn one by one with probability proportional to their cost about the nearest centroid so
// far (Arthur and Vassilvitskii 2007), the first proportionally to importance. The same seed draws
// the same centroids everywhere.
std::vector<double> kmeans_plus_plus_centroids(const Points& points, std::size_t k,
                                               std::uint64_t seed);

}  // namespace wkmeans
