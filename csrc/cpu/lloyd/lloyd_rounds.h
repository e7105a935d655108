#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "cpu/base/interrupt.h"
#include "cpu/label/codebook.h"

namespace wkmeans {

// A cluster whose points are no longer those of the round before.
struct MovedCluster {
  std::size_t cluster;
  std::size_t begin, end;
};

// The rounds of `lloyd`, wherever the sorted points are: `points.find_boundaries(thresholds,
// boundaries)` makes boundaries[j] the number of points in clusters 0..j, `points.recentre(moved,
// centroids)` moves the centroids of these clusters, none of them empty, to their points' own.
template <class SortedPoints>
int lloyd_rounds(SortedPoints&& points, int max_rounds, std::vector<double>& centroids) {
  constexpr auto kNowhere = static_cast<std::size_t>(-1);
  constexpr std::size_t kStepsOfACluster = 64;
  const std::size_t k = centroids.size();
  std::vector<double> thresholds;
  std::vector<std::size_t> boundaries(k);
  std::vector<std::size_t> previous(k, kNowhere);
  std::vector<MovedCluster> moved;
  for (int round = 0; round < max_rounds; ++round) {
    stop_if_interrupted_after(kStepsOfACluster * k);
    label_thresholds(centroids, thresholds);
    points.find_boundaries(thresholds, boundaries);
    if (boundaries == previous) return round;
    moved.clear();
    std::size_t begin = 0;
    std::size_t previous_begin = 0;
    for (std::size_t j = 0; j < k; ++j) {
      const std::size_t end = boundaries[j];
      if ((begin != previous_begin || end != previous[j]) && begin < end)
        moved.push_back({j, begin, end});
      previous_begin = previous[j];
      begin = end;
    }
    points.recentre(moved, centroids);
    previous = boundaries;
    if (!std::is_sorted(centroids.begin(), centroids.end())) {
      // Of equal centroids the first takes all and may overtake the others, which stay.
      std::sort(centroids.begin(), centroids.end());
      previous.assign(k, kNowhere);
    }
  }
  return max_rounds;
}

}  // namespace wkmeans
