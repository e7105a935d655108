#include "cpu/entropy/entropy_lloyd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/base/interrupt.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

// A codeword and the weight from which on it is cheaper than those before it.
struct Piece {
  std::size_t codeword;
  double from;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The weight from which on a codeword at b is cheaper than one at a <= b whose code costs `saved`
// more. Of codewords alike the first serves all.
double crossing(double a, double b, double saved) {
  if (a == b) return saved > 0.0 ? -kInfinity : kInfinity;
  return 0.5 * a + 0.5 * b - 0.5 * saved / (b - a);
}

// The codewords that are the cheapest somewhere, ascending.
std::vector<Piece> lower_envelope(const EntropyCodebook& codebook, double multiplier) {
  std::vector<Piece> pieces;
  for (std::size_t j = 0; j < codebook.centroids.size(); ++j) {
    const auto cheaper_from = [&](std::size_t i) {
      return crossing(codebook.centroids[i], codebook.centroids[j],
                      multiplier * (codebook.lengths[i] - codebook.lengths[j]));
    };
    while (!pieces.empty() && cheaper_from(pieces.back().codeword) <= pieces.back().from)
      pieces.pop_back();
    pieces.push_back({j, pieces.empty() ? -kInfinity : cheaper_from(pieces.back().codeword)});
  }
  return pieces;
}

struct Interval {
  std::size_t codeword, begin, end;
};

// The points of each codeword that has some.
std::vector<Interval> cheapest_intervals(const Points& points, const EntropyCodebook& codebook,
                                         double multiplier) {
  const std::vector<Piece> pieces = lower_envelope(codebook, multiplier);
  std::vector<Interval> intervals;
  const auto first = points.weight.begin();
  std::size_t begin = 0;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    std::size_t end = points.size();
    if (p + 1 < pieces.size()) {
      const auto from = first + static_cast<std::ptrdiff_t>(begin);
      end = static_cast<std::size_t>(
          std::upper_bound(from, points.weight.end(), pieces[p + 1].from) - first);
    }
    if (begin < end) intervals.push_back({pieces[p].codeword, begin, end});
    begin = end;
  }
  return intervals;
}

bool same_labels(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(),
      [](const Interval& x, const Interval& y) { return x.begin == y.begin && x.end == y.end; });
}

}  // namespace

int entropy_lloyd(const Points& points, const Pyramid<QuadraticMoments>& pyramid, double multiplier,
                  Zero zero, int max_rounds, EntropyCodebook& codebook) {
  const double n = pyramid.range(0, points.size()).quadratic.mass;
  std::vector<Interval> previous;
  for (int round = 0; round < max_rounds; ++round) {
    stop_if_interrupted();
    const std::vector<Interval> intervals = cheapest_intervals(points, codebook, multiplier);
    if (same_labels(intervals, previous)) return round;
    EntropyCodebook refitted;
    for (const Interval& interval : intervals) {
      const QuadraticMoments moments = pyramid.range(interval.begin, interval.end);
      const bool pinned = zero == Zero::pinned && codebook.centroids[interval.codeword] == 0.0;
      refitted.centroids.push_back(pinned ? 0.0 : centre(moments).value());
      refitted.lengths.push_back(std::log2(n / moments.quadratic.mass));
    }
    // A pinned zero may lie outside its own interval: such codewords can change their order.
    if (!std::is_sorted(refitted.centroids.begin(), refitted.centroids.end())) return round;
    codebook = std::move(refitted);
    previous = intervals;
  }
  return max_rounds;
}

}  // namespace wkmeans
