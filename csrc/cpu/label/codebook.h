#pragma once

#include <cstddef>
#include <vector>

namespace wkmeans {

// thresholds[j] is the largest value that takes a label of at most j, for ascending centroids:
// label(w) = number of thresholds below w. Exact, ties to the lower centroid; of equal centroids
// only the first is ever named. Size k - 1.
void label_thresholds(const std::vector<double>& centroids, std::vector<double>& thresholds);

}  // namespace wkmeans
