#include "cpu/label/codebook.h"

#include <limits>

#include "math/nearest.h"

namespace wkmeans {

void label_thresholds(const std::vector<double>& centroids, std::vector<double>& thresholds) {
  const std::size_t k = centroids.size();
  thresholds.resize(k - 1);
  for (std::size_t first = 0; first < k;) {
    std::size_t next = first + 1;
    while (next < k && centroids[next] == centroids[first]) ++next;
    // Past the last centroid nothing is larger; between equal ones the same threshold serves all.
    const double threshold = next < k ? split_point(centroids[first], centroids[next])
                                      : std::numeric_limits<double>::infinity();
    for (std::size_t j = first; j < next && j < k - 1; ++j) thresholds[j] = threshold;
    first = next;
  }
}

}  // namespace wkmeans
