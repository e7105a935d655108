#include "cpu/lloyd.h"

#include <algorithm>

#include "cpu/codebook.h"
#include "cpu/lloyd_rounds.h"
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

template <class Moments>
class PointsInMemory {
public:
  PointsInMemory(const Points& points, const Pyramid<Moments>& pyramid)
      : points_(points), pyramid_(pyramid) {}

  void find_boundaries(const std::vector<double>& thresholds,
                       std::vector<std::size_t>& boundaries) const {
    wkmeans::find_boundaries(points_, thresholds, boundaries);
  }

  void recentre(const std::vector<MovedCluster>& moved, std::vector<double>& centroids) const {
    for (const MovedCluster& m : moved) {
      centroids[m.cluster] = clamp_between(centre(pyramid_.range(m.begin, m.end)).value(),
                                           points_.weight[m.begin], points_.weight[m.end - 1]);
    }
  }

private:
  const Points& points_;
  const Pyramid<Moments>& pyramid_;
};

}  // namespace

template <class Moments>
int lloyd(const Points& points, const Pyramid<Moments>& pyramid, int max_rounds,
          std::vector<double>& centroids) {
  return lloyd_rounds(PointsInMemory<Moments>(points, pyramid), max_rounds, centroids);
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
