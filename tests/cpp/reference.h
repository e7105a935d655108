#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "support.h"

// Slow, obvious answers in long double.
namespace wkmeans::testing {

using Real = long double;

constexpr double kEpsilon = 0x1p-52;

inline bool close(Real value, Real reference, Real tolerance) {
  return std::fabs(value - reference) <= tolerance;
}

// A point near the weights, held as they hold theirs: differences of nearby weights are exact.
struct Position {
  double origin;
  Real offset;

  Real distance_to(double weight) const { return (static_cast<Real>(weight) - origin) - offset; }
};

struct ReferenceMoments {
  Real mass;
  Position mean;
  Real second, third, fourth;
};

// Sums about the mean, which is measured from the heaviest weight.
inline ReferenceMoments direct_moments(const std::vector<double>& weight,
                                       const std::vector<double>& mass) {
  const auto heaviest = std::max_element(mass.begin(), mass.end()) - mass.begin();
  ReferenceMoments m{0, {weight[static_cast<std::size_t>(heaviest)], 0}, 0, 0, 0};
  Real moment = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    m.mass += mass[i];
    moment += mass[i] * m.mean.distance_to(weight[i]);
  }
  m.mean.offset = moment / m.mass;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const Real distance = m.mean.distance_to(weight[i]);
    m.second += mass[i] * distance * distance;
    m.third += mass[i] * distance * distance * distance;
    m.fourth += mass[i] * distance * distance * distance * distance;
  }
  return m;
}

inline Real quartic_importance_of(const Points& points, std::size_t i) {
  return points.quartic() ? static_cast<Real>(points.quartic_importance[i]) : 0;
}

inline Real direct_cost(const Points& points, std::size_t begin, std::size_t end,
                        const Position& centroid) {
  Real cost = 0;
  for (std::size_t i = begin; i < end; ++i) {
    const Real square = std::pow(centroid.distance_to(points.weight[i]), 2);
    cost += points.importance[i] * square + quartic_importance_of(points, i) * square * square;
  }
  return cost;
}

// The cost of labelling each of [begin, end) with its nearest centroid.
inline Real direct_cost(const Points& points, const std::vector<double>& centroids) {
  Real cost = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    Real best = INFINITY;
    for (const double centroid : centroids) {
      best = std::min(best, direct_cost(points, i, i + 1, {centroid, 0}));
    }
    cost += best;
  }
  return cost;
}

// The root of an increasing function between `low` and `high`, to the last bit.
template <class Function>
Real bisect(Function&& increasing, Real low, Real high) {
  for (int step = 0; step < 400; ++step) {
    const Real middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (increasing(middle) < 0 ? low : high) = middle;
  }
  return high;
}

// The minimiser of a cluster's cost: bisection on its derivative, measured from the weight nearest
// to it, which a first bisection finds.
inline Position direct_centroid(const Points& points, std::size_t begin, std::size_t end) {
  Position centroid{points.weight[begin], 0};
  for (int pass = 0; pass < 2; ++pass) {
    const double origin = centroid.origin;
    const auto derivative = [&](Real offset) {
      Real sum = 0;
      for (std::size_t i = begin; i < end; ++i) {
        const Real distance = -Position{origin, offset}.distance_to(points.weight[i]);
        sum += points.importance[i] * distance +
               2 * quartic_importance_of(points, i) * distance * distance * distance;
      }
      return sum;
    };
    centroid.offset = bisect(derivative, static_cast<Real>(points.weight[begin]) - origin,
                             static_cast<Real>(points.weight[end - 1]) - origin);
    if (pass == 1) break;
    const auto nearer = [&](double a, double b) {
      return std::fabs(centroid.distance_to(a)) < std::fabs(centroid.distance_to(b));
    };
    const auto first = points.weight.begin();
    const double nearest = *std::min_element(first + static_cast<std::ptrdiff_t>(begin),
                                             first + static_cast<std::ptrdiff_t>(end), nearer);
    centroid = {nearest, 0};
  }
  return centroid;
}

inline Real direct_optimal_cost(const Points& points, std::size_t begin, std::size_t end) {
  return direct_cost(points, begin, end, direct_centroid(points, begin, end));
}

// interval_cost(points, begin, end), summed over clusters that end before `boundaries`.
template <class IntervalCost>
Real partition_cost(const Points& points, const std::vector<std::size_t>& boundaries,
                    IntervalCost&& interval_cost) {
  Real cost = 0;
  std::size_t begin = 0;
  for (const std::size_t end : boundaries) {
    cost += interval_cost(points, begin, end);
    begin = end;
  }
  return cost;
}

// The cost of the cheapest of all partitions into k intervals, for k = 1..n.
template <class IntervalCost>
std::vector<Real> brute_force_costs(const Points& points, IntervalCost&& interval_cost) {
  const std::size_t n = points.size();
  std::vector<std::vector<Real>> known(n, std::vector<Real>(n + 1));
  for (std::size_t begin = 0; begin < n; ++begin) {
    for (std::size_t end = begin + 1; end <= n; ++end) {
      known[begin][end] = interval_cost(points, begin, end);
    }
  }
  std::vector<Real> best(n, INFINITY);
  for (std::uint32_t cuts = 0; cuts < (1u << (n - 1)); ++cuts) {
    std::vector<std::size_t> boundaries;
    for (std::size_t end = 1; end < n; ++end) {
      if ((cuts >> (end - 1)) & 1) boundaries.push_back(end);
    }
    boundaries.push_back(n);
    Real& cost = best[boundaries.size() - 1];
    cost = std::min(cost, partition_cost(points, boundaries,
                                         [&](const Points&, std::size_t begin, std::size_t end) {
                                           return known[begin][end];
                                         }));
  }
  return best;
}

}  // namespace wkmeans::testing
