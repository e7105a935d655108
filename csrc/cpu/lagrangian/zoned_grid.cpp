#include "cpu/lagrangian/zoned_grid.h"

#include <algorithm>
#include <limits>

namespace wkmeans {
namespace {

// Whether a boundary may lie inside the point or on either side of it.
bool is_in_zone(const Points& points, std::size_t i) {
  return points.is_divisible(i) || points.low(i) == points.high(i);
}

void cut_zone(std::size_t begin, std::size_t end, std::vector<Zone>& cuts) {
  constexpr std::size_t kParts = 8;
  const std::size_t n_parts = std::min(kParts, end - begin);
  for (std::size_t part = 0; part < n_parts; ++part) {
    const std::size_t at = begin + (end - begin) * part / n_parts;
    cuts.push_back({at, at});
  }
}

}  // namespace

template <class Moments>
Grid<Moments> zoned_grid(const Points& points, const Pyramid<Moments>& pyramid,
                         const std::vector<std::size_t>& boundaries, const Parallel& parallel) {
  const std::size_t n = points.size();
  std::vector<Zone> cuts;
  for (std::size_t begin = 0; begin < n;) {
    std::size_t end = begin + 1;
    if (is_in_zone(points, begin)) {
      while (end < n && is_in_zone(points, end)) ++end;
    }
    cut_zone(begin, end, cuts);
    begin = end;
  }
  for (const std::size_t boundary : boundaries) cuts.push_back({boundary, boundary});
  const auto before = [](const Zone& a, const Zone& b) { return a.first < b.first; };
  const auto same = [](const Zone& a, const Zone& b) { return a.first == b.first; };
  std::sort(cuts.begin(), cuts.end(), before);
  cuts.erase(std::unique(cuts.begin(), cuts.end(), same), cuts.end());
  cuts.erase(cuts.begin());  // the first cell begins at 0 anyway
  Grid<Moments> grid = exact_grid(pyramid, n, cuts, parallel);
  grid.half_gaps.assign(grid.size(), std::numeric_limits<double>::infinity());
  for (std::size_t v = 0; v < grid.size(); ++v) {
    const std::size_t begin = grid.borders[v];
    grid.open[v] = grid.borders[v + 1] - begin > 1 || points.is_divisible(begin);
  }
  return grid;
}

template Grid<QuadraticMoments> zoned_grid(const Points&, const Pyramid<QuadraticMoments>&,
                                           const std::vector<std::size_t>&, const Parallel&);
template Grid<QuarticMoments> zoned_grid(const Points&, const Pyramid<QuarticMoments>&,
                                         const std::vector<std::size_t>&, const Parallel&);

}  // namespace wkmeans
