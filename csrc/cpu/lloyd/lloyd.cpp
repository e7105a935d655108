#include "cpu/lloyd/lloyd.h"

#include <algorithm>

#include "cpu/label/codebook.h"
#include "cpu/lloyd/lloyd_rounds.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

// The first of values [begin, end) above the threshold, looked for from `near` outward in steps
// that double.
template <class Stored>
std::size_t first_above(const Stored* values, std::size_t begin, std::size_t end, std::size_t near,
                        double threshold) {
  const auto is_above = [&](std::size_t i) { return threshold < static_cast<double>(values[i]); };
  std::size_t step = 1;
  if (near == end || is_above(near)) {
    for (end = near; end > begin; step *= 2) {
      const std::size_t at = end - std::min(step, end - begin);
      if (!is_above(at)) {
        begin = at + 1;
        break;
      }
      end = at;
    }
  } else {
    for (begin = near + 1; begin < end; step *= 2) {
      const std::size_t at = begin + std::min(step, end - begin) - 1;
      if (is_above(at)) {
        end = at;
        break;
      }
      begin = at + 1;
    }
  }
  return static_cast<std::size_t>(std::upper_bound(values + begin, values + end, threshold) -
                                  values);
}

// boundaries[j] points lie in clusters 0..j. Where they were is near where they are.
template <class Stored>
void find_boundaries(const Stored* weights, std::size_t n, const std::vector<double>& thresholds,
                     std::vector<std::size_t>& boundaries) {
  std::size_t from = 0;
  for (std::size_t j = 0; j < thresholds.size(); ++j) {
    const std::size_t near = std::clamp(boundaries[j], from, n);
    from = first_above(weights, from, n, near, thresholds[j]);
    boundaries[j] = from;
  }
  boundaries.back() = n;
}

void find_boundaries(const Points& points, const std::vector<double>& thresholds,
                     std::vector<std::size_t>& boundaries) {
  const Column& weight = points.weight;
  if (weight.is_narrow()) {
    find_boundaries(weight.floats(), points.size(), thresholds, boundaries);
  } else {
    find_boundaries(weight.data(), points.size(), thresholds, boundaries);
  }
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
