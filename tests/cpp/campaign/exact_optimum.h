#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/intervals/format.h"
#include "support.h"

// The optimum from its definition: every interval's cost summed term by term about its best
// centroid, and a dynamic programme over all of them. Shares no idea with the kernels.
namespace wkmeans::testing {

#if defined(__SIZEOF_FLOAT128__)
__extension__ using Exact = __float128;
#else
using Exact = long double;
static_assert(std::numeric_limits<long double>::digits == 113, "needs quadruple precision");
#endif

// What an exact value may be off by, relatively: hundreds of roundings of 2^-113.
constexpr double kExactError = 1e-28;

struct ExactPoint {
  double weight;
  Exact importance, quartic_importance;
};

// The distinct weights that carry importance, ascending; where none does, each counts 1.
inline std::vector<ExactPoint> exact_points(const Items& items, bool quartic) {
  const bool any =
      std::any_of(items.importance.begin(), items.importance.end(),
                  [](double value) { return value > 0.0; }) ||
      (quartic && std::any_of(items.quartic_importance.begin(), items.quartic_importance.end(),
                              [](double value) { return value > 0.0; }));
  std::vector<ExactPoint> points;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Exact importance = any ? items.importance[i] : 1.0;
    const Exact quartic_importance = any && quartic ? items.quartic_importance[i] : 0.0;
    if (importance == 0 && quartic_importance == 0) continue;
    const double weight = items.weight[i] + 0.0;
    const auto at = std::lower_bound(
        points.begin(), points.end(), weight,
        [](const ExactPoint& point, double value) { return point.weight < value; });
    if (at == points.end() || at->weight != weight) {
      points.insert(at, {weight, importance, quartic_importance});
    } else {
      at->importance += importance;
      at->quartic_importance += quartic_importance;
    }
  }
  return points;
}

using ExactPoints = std::vector<ExactPoint>;

inline Exact magnitude(Exact value) { return value < 0 ? -value : value; }

// origin + offset; with `origin` the weight nearest to it, no distance to a weight cancels.
template <class Real>
struct Centroid {
  double origin;
  Real offset;

  Real distance_to(double weight) const { return (static_cast<Real>(weight) - origin) - offset; }
};
using ExactCentroid = Centroid<Exact>;

// sum I (w - c)^2 + H (w - c)^4, and half of it derived once and twice by c.
template <class Real>
struct DerivedCost {
  Real cost, slope, curvature;
};

template <class Real>
DerivedCost<Real> derived_cost(const ExactPoints& points, std::size_t begin, std::size_t end,
                               const Centroid<Real>& centroid) {
  DerivedCost<Real> sum{0, 0, 0};
  for (std::size_t i = begin; i < end; ++i) {
    const auto importance = static_cast<Real>(points[i].importance);
    const auto quartic_importance = static_cast<Real>(points[i].quartic_importance);
    const Real distance = centroid.distance_to(points[i].weight);
    const Real square = distance * distance;
    sum.cost += (importance + quartic_importance * square) * square;
    sum.slope -= (importance + 2 * quartic_importance * square) * distance;
    sum.curvature += importance + 6 * quartic_importance * square;
  }
  return sum;
}

inline Exact exact_cost(const ExactPoints& points, std::size_t begin, std::size_t end,
                        const ExactCentroid& centroid) {
  return derived_cost(points, begin, end, centroid).cost;
}

// Newton inside a bracket, on the convex cost of points [begin, end). The cost is slope^2 /
// curvature above its minimum where Newton is about to arrive: it has its digits, twice as many as
// the centroid has, once that is below `tolerance` of it.
template <class Real>
Real minimising_offset(const ExactPoints& points, std::size_t begin, std::size_t end, double origin,
                       Real low, Real high, Real from, double tolerance) {
  constexpr int kMostSteps = 20000;  // of bisection through a float128's exponents
  Real offset = from;
  for (int step = 0; step < kMostSteps && low < high; ++step) {
    const auto here = derived_cost(points, begin, end, Centroid<Real>{origin, offset});
    if (here.slope * here.slope <= here.cost * here.curvature * tolerance) break;
    (here.slope < 0 ? low : high) = offset;
    const Real newton = offset - here.slope / here.curvature;
    const Real next = newton > low && newton < high ? newton : low + (high - low) / 2;
    if (next == offset || next == low || next == high) break;
    offset = next;
  }
  return offset;
}

inline ExactCentroid exact_centroid(const ExactPoints& points, std::size_t begin, std::size_t end) {
  const double first = points[begin].weight;
  const Exact width = static_cast<Exact>(points[end - 1].weight) - first;
  const auto rough_width = static_cast<long double>(width);
  const long double rough =
      minimising_offset(points, begin, end, first, 0.0L, rough_width, rough_width / 2, 1e-30);
  const Centroid<long double> roughly{first, rough};
  const auto nearest = std::min_element(points.begin() + static_cast<std::ptrdiff_t>(begin),
                                        points.begin() + static_cast<std::ptrdiff_t>(end),
                                        [&](const ExactPoint& a, const ExactPoint& b) {
                                          return magnitude(roughly.distance_to(a.weight)) <
                                                 magnitude(roughly.distance_to(b.weight));
                                        });
  const double origin = nearest->weight;
  // From the weights themselves: the width drowns what is near one end.
  const Exact low = static_cast<Exact>(first) - origin;
  const Exact high = static_cast<Exact>(points[end - 1].weight) - origin;
  const Exact from = std::clamp(rough + low, low, high);
  return {origin, minimising_offset<Exact>(points, begin, end, origin, low, high, from, 1e-33)};
}

// The values that a format holds around a given one, from the format's own definition.
class FormatValues {
public:
  FormatValues(CentroidFormat format, double scale) : format_(format) {
    switch (format) {
      case CentroidFormat::float64:
      case CentroidFormat::float32:
        break;
      case CentroidFormat::float16:
        add_floats(5, 10, 30);
        break;
      case CentroidFormat::bfloat16:
        add_floats(8, 7, 254);
        break;
      case CentroidFormat::float8_e4m3fn:
        add_floats(4, 3, 15);
        values_.erase(values_.begin());  // of the largest exponent the last one is a NaN
        values_.pop_back();
        break;
      case CentroidFormat::float8_e5m2:
        add_floats(5, 2, 30);
        break;
      case CentroidFormat::int8:
        for (int step = -127; step <= 127; ++step) values_.push_back(step * scale);
        break;
    }
  }

  bool is_real() const { return format_ == CentroidFormat::float64; }

  // Values among which are those on either side of `value`.
  std::vector<double> around(double value) const {
    if (format_ == CentroidFormat::float32) {
      const float largest = std::numeric_limits<float>::max();
      const float near = static_cast<float>(
          std::clamp(value, -static_cast<double>(largest), static_cast<double>(largest)));
      std::vector<double> values;
      for (const float other :
           {std::nextafter(near, -INFINITY), near, std::nextafter(near, INFINITY)}) {
        if (std::isfinite(other)) values.push_back(static_cast<double>(other));
      }
      return values;
    }
    const auto at = std::lower_bound(values_.begin(), values_.end(), value) - values_.begin();
    const auto last = static_cast<std::ptrdiff_t>(values_.size()) - 1;
    std::vector<double> values;
    for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(at - 2, 0); i <= std::min(at + 1, last); ++i) {
      values.push_back(values_[static_cast<std::size_t>(i)]);
    }
    return values;
  }

private:
  void add_floats(int exponent_bits, int mantissa_bits, int largest_exponent) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    for (int exponent = 0; exponent <= largest_exponent; ++exponent) {
      for (int mantissa = 0; mantissa < (1 << mantissa_bits); ++mantissa) {
        const int digits = mantissa + (exponent > 0 ? 1 << mantissa_bits : 0);
        const double value = std::ldexp(digits, std::max(exponent, 1) - bias - mantissa_bits);
        values_.push_back(value);
        values_.push_back(-value);
      }
    }
    std::sort(values_.begin(), values_.end());
  }

  CentroidFormat format_;
  std::vector<double> values_;
};

// The least costs of all intervals, with centroids anywhere or on the values of a format.
class IntervalCosts {
public:
  explicit IntervalCosts(const ExactPoints& points)
      : points_(points),
        n_(points.size()),
        centroids_(n_ * (n_ + 1)),
        free_(n_ * (n_ + 1)),
        about_zero_(n_ * (n_ + 1)) {
    for (std::size_t begin = 0; begin < n_; ++begin) {
      for (std::size_t end = begin + 1; end <= n_; ++end) {
        const std::size_t at = index(begin, end);
        centroids_[at] = exact_centroid(points_, begin, end);
        free_[at] = exact_cost(points_, begin, end, centroids_[at]);
        about_zero_[at] = exact_cost(points_, begin, end, {0.0, 0});
      }
    }
  }

  const std::vector<Exact>& free() const { return free_; }
  const std::vector<Exact>& about_zero() const { return about_zero_; }

  std::vector<Exact> placed(const FormatValues& format) const {
    if (format.is_real()) return free_;
    std::vector<Exact> costs(free_.size());
    for (std::size_t begin = 0; begin < n_; ++begin) {
      for (std::size_t end = begin + 1; end <= n_; ++end) {
        costs[index(begin, end)] = placed(format, begin, end);
      }
    }
    return costs;
  }

  // The cost of one interval about the best value of the format.
  Exact placed(const FormatValues& format, std::size_t begin, std::size_t end) const {
    const ExactCentroid& centroid = centroids_[index(begin, end)];
    const auto value = static_cast<double>(centroid.origin + centroid.offset);
    Exact best = -1;
    for (const double candidate : format.around(value)) {
      const Exact cost = exact_cost(points_, begin, end, {candidate, 0});
      if (best < 0 || cost < best) best = cost;
    }
    return best;
  }

  // About the best centroid rounded to double.
  Exact rounded(std::size_t begin, std::size_t end) const {
    const ExactCentroid& centroid = centroids_[index(begin, end)];
    const auto value = static_cast<double>(centroid.origin + centroid.offset);
    return exact_cost(points_, begin, end, {value, 0});
  }

  std::size_t index(std::size_t begin, std::size_t end) const { return begin * (n_ + 1) + end; }
  std::size_t n_points() const { return n_; }

private:
  const ExactPoints& points_;
  std::size_t n_;
  std::vector<ExactCentroid> centroids_;
  std::vector<Exact> free_, about_zero_;
};

struct ExactPartition {
  Exact cost = 0;
  std::vector<std::size_t> boundaries;  // cluster j ends before boundaries[j]
};

// The optimum with at most k clusters for k = 1..k_max; with `about_zero` one of them has its
// centroid at zero and may be empty.
inline std::vector<ExactPartition> exact_optima(const IntervalCosts& intervals,
                                                const std::vector<Exact>& costs,
                                                const std::vector<Exact>* about_zero,
                                                std::size_t k_max) {
  const std::size_t n = intervals.n_points();
  // best[has_zero][i]: of points [0, i), with the clusters so far.
  using Row = std::vector<ExactPartition>;
  const Exact unreached = -1;
  Row none[2] = {Row(n + 1, {unreached, {}}), Row(n + 1, {unreached, {}})};
  none[0][0].cost = 0;
  std::vector<ExactPartition> optima;
  for (std::size_t k = 1; k <= k_max; ++k) {
    Row next[2] = {none[0], none[1]};
    if (about_zero) next[1][0] = {0, {}};  // an empty zero cluster
    const auto relax = [&](const ExactPartition& from, Exact cost, std::size_t end,
                           ExactPartition& to) {
      if (from.cost < 0 || (to.cost >= 0 && to.cost <= from.cost + cost)) return;
      to.cost = from.cost + cost;
      to.boundaries = from.boundaries;
      to.boundaries.push_back(end);
    };
    for (std::size_t begin = 0; begin < n; ++begin) {
      for (std::size_t end = begin + 1; end <= n; ++end) {
        const std::size_t at = intervals.index(begin, end);
        relax(none[0][begin], costs[at], end, next[0][end]);
        if (!about_zero) continue;
        relax(none[1][begin], costs[at], end, next[1][end]);
        relax(none[0][begin], (*about_zero)[at], end, next[1][end]);
      }
    }
    // An empty zero cluster may stand anywhere: it takes an edge and no point.
    if (about_zero) {
      for (std::size_t i = 1; i <= n; ++i) {
        if (none[0][i].cost >= 0 && (next[1][i].cost < 0 || none[0][i].cost < next[1][i].cost)) {
          next[1][i] = none[0][i];
        }
      }
    }
    std::swap(none[0], next[0]);
    std::swap(none[1], next[1]);
    optima.push_back(none[about_zero ? 1 : 0][n]);
  }
  return optima;
}

}  // namespace wkmeans::testing
