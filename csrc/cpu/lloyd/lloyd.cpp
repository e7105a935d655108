#include "cpu/lloyd/lloyd.h"

#include "cpu/label/codebook.h"
#include "cpu/lloyd/lloyd_rounds.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

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

template int lloyd(const Points&, const Pyramid<QuadraticMoments>&, int, std::vector<double>&);
template int lloyd(const Points&, const Pyramid<QuarticMoments>&, int, std::vector<double>&);

}  // namespace wkmeans
