#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/read/points.h"

namespace wkmeans {

// What a codebook says of labels. Ties go to the lower centroid; of equal centroids only the first
// is ever named.

// thresholds[j] is the largest value that takes a label of at most j, for ascending centroids:
// label(w) = number of thresholds below w. Exact. Size k - 1.
void label_thresholds(const std::vector<double>& centroids, std::vector<double>& thresholds);

// The same as a search without branches wants them: padded with infinities to a power of two minus
// one.
struct SearchTable {
  std::vector<double> thresholds;
  std::int64_t half;  // half of that power of two
};
SearchTable search_table(const std::vector<double>& centroids);

// Makes boundaries[j] the number of points in clusters 0..j, looked for from where they were.
void find_boundaries(const Points& points, const std::vector<double>& thresholds,
                     std::vector<std::size_t>& boundaries);

// The end of each centroid's run of points, for ascending centroids.
std::vector<std::size_t> cluster_boundaries(const Points& points,
                                            const std::vector<double>& centroids);

}  // namespace wkmeans
