#include "cpu/label/codebook.h"

#include <algorithm>
#include <limits>

#include "math/nearest.h"

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

}  // namespace

void find_boundaries(const Points& points, const std::vector<double>& thresholds,
                     std::vector<std::size_t>& boundaries) {
  const Column& weight = points.weight;
  if (weight.is_narrow()) {
    find_boundaries(weight.floats(), points.size(), thresholds, boundaries);
  } else {
    find_boundaries(weight.data(), points.size(), thresholds, boundaries);
  }
}

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

SearchTable search_table(const std::vector<double>& centroids) {
  SearchTable table;
  label_thresholds(centroids, table.thresholds);
  std::size_t size = 1;
  while (size < centroids.size()) size *= 2;
  table.thresholds.resize(size - 1, std::numeric_limits<double>::infinity());
  table.half = static_cast<std::int64_t>(size / 2);
  return table;
}

std::vector<std::size_t> cluster_boundaries(const Points& points,
                                            const std::vector<double>& centroids) {
  std::vector<double> thresholds;
  label_thresholds(centroids, thresholds);
  std::vector<std::size_t> boundaries(centroids.size());
  find_boundaries(points, thresholds, boundaries);
  return boundaries;
}

}  // namespace wkmeans
