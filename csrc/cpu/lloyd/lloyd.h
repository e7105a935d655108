#pragma once

#include <vector>

#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

// Algorithm 2 of Gao, Liu, Wang, Oh (2019) on sorted points: a cluster is a range, so a round costs
// O(k log n). Moves `centroids` (ascending) in place for at most `max_rounds` rounds, stopping
// early where a round would change nothing, and returns the number of rounds made. A cluster
// without importance keeps its centroid.
template <class Moments>
int lloyd(const Points& points, const Pyramid<Moments>& pyramid, int max_rounds,
          std::vector<double>& centroids);

}  // namespace wkmeans
