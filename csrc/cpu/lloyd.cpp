#include "cpu/lloyd.h"

#include <algorithm>

#include "cpu/codebook.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

// boundaries[j] points lie in clusters 0..j.
void find_boundaries(const Points& points, const std::vector<double>& thresholds,
                     std::vector<std::size_t>& boundaries) {
  auto from = points.weight.begin();
  for (std::size_t j = 0; j < thresholds.size(); ++j) {
    from = std::upper_bound(from, points.weight.end(), thresholds[j]);
    boundaries[j] = static_cast<std::size_t>(from - points.weight.begin());
  }
  boundaries.back() = points.size();
}

}  // namespace

template <class Moments>
int lloyd(const Points& points, const Pyramid<Moments>& pyramid, int max_rounds,
          std::vector<double>& centroids) {
  const std::size_t k = centroids.size();
  std::vector<double> thresholds;
  std::vector<std::size_t> boundaries(k);
  std::vector<std::size_t> previous(k, points.size() + 1);
  for (int round = 0; round < max_rounds; ++round) {
    label_thresholds(centroids, thresholds);
    find_boundaries(points, thresholds, boundaries);
    if (boundaries == previous) return round;
    std::size_t begin = 0;
    std::size_t previous_begin = 0;
    for (std::size_t j = 0; j < k; ++j) {
      const std::size_t end = boundaries[j];
      const bool moved = begin != previous_begin || end != previous[j];
      if (moved && begin < end) {
        centroids[j] = clamp_between(centre(pyramid.range(begin, end)).value(),
                                     points.weight[begin], points.weight[end - 1]);
      }
      previous_begin = previous[j];
      begin = end;
    }
    previous = boundaries;
    if (!std::is_sorted(centroids.begin(), centroids.end())) {
      // Of equal centroids the first takes all and may overtake the others, which stay.
      std::sort(centroids.begin(), centroids.end());
      previous.assign(k, points.size() + 1);
    }
  }
  return max_rounds;
}

std::vector<std::size_t> cluster_boundaries(const Points& points,
                                            const std::vector<double>& centroids) {
  std::vector<double> thresholds;
  label_thresholds(centroids, thresholds);
  std::vector<std::size_t> boundaries(centroids.size());
  find_boundaries(points, thresholds, boundaries);
  return boundaries;
}

template int lloyd(const Points&, const Pyramid<QuadraticMoments>&, int, std::vector<double>&);
template int lloyd(const Points&, const Pyramid<QuarticMoments>&, int, std::vector<double>&);

}  // namespace wkmeans
