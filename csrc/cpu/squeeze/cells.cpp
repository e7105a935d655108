#include "cpu/squeeze/cells.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/base/isa.h"
#include "cpu/intervals/bounds.h"
#include "cpu/intervals/front.h"
#include "math/item_cost.h"

namespace wkmeans {
namespace {

// Within 6 % of the cube root of a non-negative number: a third of its exponent. A measure of where
// to look first needs no digits.
WKM_ALWAYS_INLINE double rough_cube_root(double value) {
  constexpr std::uint64_t kBias = 715094163;  // two thirds of the exponent's bias, tuned
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint64_t high = ((bits >> 32) * 0x55555556u >> 32) + kBias;
  bits = high << 32;
  double root;
  std::memcpy(&root, &bits, sizeof root);
  return value > 0.0 ? root : 0.0;
}

struct MeasurePoints {
  static WKM_ALWAYS_INLINE void run(const double* weight, const double* importance,
                                    const double* quartic_importance, std::size_t n,
                                    double* shares) {
    for (std::size_t i = 0; i + 1 < n; ++i) {
      const double distance = weight[i + 1] - weight[i];
      const double cost = quartic_importance
                              ? cost_within(distance, importance[i], quartic_importance[i])
                              : item_cost(distance, importance[i]);
      shares[i] = rough_cube_root(cost);
    }
    shares[n - 1] = 0.0;
  }
};

// The same with H: I d^2 - 2 I r d + (H d^4 - 2 H r d^3) / 2 is convex and rises beyond `start`, so
// that Newton's steps never fall short of where it reaches `worth`.
WKM_ALWAYS_INLINE double with_fourth_powers(double quadratic_bound, double mass, double radius,
                                            double quartic_mass, double quartic_radius,
                                            double worth) {
  constexpr int kSteps = 2;
  const double quartic_bound =
      quartic_half_gap(2.0 * quartic_radius / quartic_mass, 2.0 * worth / quartic_mass);
  const double first = quartic_bound < quadratic_bound ? quartic_bound : quadratic_bound;
  const double start_i = radius / mass;
  const double start_h = 1.5 * quartic_radius / quartic_mass;
  const double start = start_i > start_h ? start_i : start_h;
  double d = first;
  for (int step = 0; step < kSteps; ++step) {
    const double value =
        d * (mass * d - 2.0 * radius) + 0.5 * d * d * d * (quartic_mass * d - 2.0 * quartic_radius);
    const double slope =
        2.0 * (mass * d - radius) + d * d * (2.0 * quartic_mass * d - 3.0 * quartic_radius);
    const double next = d - (value - worth) / slope;
    d = next > start && next < d ? next : d;
  }
  return d;
}

// What rounding can move sums and pulls by.
struct SumErrors {
  double importance, quartic_importance, pull, quartic_pull;
};

// The half-gaps of bounds.h, each point at its own distance r.
template <class Sums>
struct BoundHalfGaps {
  static constexpr bool kQuartic = Sums::kCount > QuadraticSums::kCount;

  // lows, highs: the least and the largest point of each cell.
  static WKM_ALWAYS_INLINE void run(SumColumns sums, const double* lows, const double* highs,
                                    std::size_t n, SumErrors errors, double worth, double widest,
                                    double* bounds) {
    const SumColumns before{sums.data - SqueezeGrid::kReach, sums.stride, sums.radius};
    WKM_INDEPENDENT
    for (std::size_t v = 0; v < n; ++v) {
      const Sums left = Sums::between(before, v, v + SqueezeGrid::kReach);
      const Sums cell = Sums::between(sums, v, v + 1);
      const Sums right = Sums::between(sums, v + 1, v + 1 + SqueezeGrid::kReach);
      const double width = highs[v] - lows[v];
      const double mass =
          (left.importance() + cell.importance() + right.importance()) - errors.importance;
      const double radius = (right.pull_from(lows[v]) - left.pull_from(highs[v])) +
                            (width * cell.importance() + 3.0 * errors.pull);
      double bound = quadratic_half_gap(radius, mass * worth) / mass;
      if (kQuartic) {
        const double quartic_mass =
            (left.quartic_importance() + cell.quartic_importance() + right.quartic_importance()) -
            errors.quartic_importance;
        const double quartic_radius =
            (right.quartic_pull_from(lows[v]) - left.quartic_pull_from(highs[v])) +
            (width * cell.quartic_importance() + 3.0 * errors.quartic_pull);
        bound = with_fourth_powers(bound, mass, radius, quartic_mass, quartic_radius, worth);
      }
      bounds[v] = bound < widest ? bound : widest;  // no mass bounds nothing
    }
  }
};

// What moving boundaries out of a cell costs, at most.
template <class Moments>
double split_gain(const SqueezeSums<Moments>& sums, std::size_t begin, std::size_t end,
                  double half_gap) {
  using Sums = typename SumsOf<Moments>::Type;
  const double* x = sums.x();
  const Estimate whole = sums.estimate(begin, end);
  const double width = x[end - 1] - x[begin];
  const auto* above = std::upper_bound(x + begin, x + end, whole.centroid);
  const auto split = static_cast<std::size_t>(above - x);
  const Sums left = Sums::between(sums.columns(), begin, split);
  const Sums right = Sums::between(sums.columns(), split, end);
  // One boundary. Either side's weights may be given up, and about any point the heavier side gains
  // more than the lighter one about the boundary.
  const auto [a, b] = gain_rates(half_gap, width);
  const double z = whole.centroid;
  const double one_boundary = std::max(a * right.pull_from(z) + b * right.quartic_pull_from(z),
                                       -(a * left.pull_from(z) + b * left.quartic_pull_from(z)));
  const double rounding = a * sums.pull_error() + b * sums.quartic_pull_error();
  // More: a cluster of the optimum lies inside the cell, and can take all of it.
  return std::max(one_boundary, whole.cost) + rounding;
}

}  // namespace

void ClusterMeasure::measure(const Points& points) {
  const std::size_t n = points.size();
  shares_.resize(n);
  dispatch<MeasurePoints>(points.weight.data(), points.importance.data(),
                          points.quartic() ? points.quartic_importance.data() : nullptr, n,
                          shares_.data());
  running_.resize(n + 1);
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    running_[i] = sum;
    sum += shares_[i];
  }
  running_[n] = sum;
}

void ClusterMeasure::cut(std::size_t begin, std::size_t end, double n_parts,
                         std::vector<std::size_t>& borders) const {
  const double part = running_.back() / n_parts;
  borders.push_back(begin);
  for (std::size_t at = begin; at < end;) {
    const double limit = running_[at] + part;
    ++at;
    while (at < end && running_[at + 1] <= limit) ++at;
    borders.push_back(at);
  }
}

void thin_out(const SqueezeGrid& grid, std::size_t n_cells, SqueezeGrid& coarse) {
  coarse.borders.clear();
  for (std::size_t v = 0; v < grid.size(); v += n_cells) coarse.borders.push_back(grid.borders[v]);
  coarse.borders.push_back(grid.borders.back());
  coarse.open.assign(coarse.size(), 0);
}

template <class Moments>
void gather_sums(const SqueezeSums<Moments>& sums, SqueezeGrid& grid) {
  const SumColumns from = sums.columns();
  const std::size_t n_nodes = grid.borders.size();
  grid.stride = SqueezeGrid::kReach + n_nodes + kLanes;
  grid.radius = from.radius;
  constexpr std::size_t kCount = SumsOf<Moments>::Type::kCount;
  grid.sums.resize(kCount * grid.stride);
  for (std::size_t f = 0; f < kCount; ++f) {
    double* padding = grid.sums.data() + f * grid.stride;
    double* column = std::fill_n(padding, SqueezeGrid::kReach, 0.0);
    for (std::size_t i = 0; i < n_nodes; ++i)
      column[i] = from.data[f * from.stride + grid.borders[i]];
    std::fill_n(column + n_nodes, kLanes, column[n_nodes - 1]);
  }
}

template <class Moments>
void bound_half_gaps(const SqueezeSums<Moments>& sums, double worth, SqueezeGrid& grid) {
  const std::size_t n = grid.size();
  const double* x = sums.x();
  grid.lows.resize(n);
  grid.highs.resize(n);
  for (std::size_t v = 0; v < n; ++v) {
    grid.lows[v] = x[grid.borders[v]];
    grid.highs[v] = x[grid.borders[v + 1] - 1];
  }
  grid.half_gaps.resize(n);
  const double widest = 0.5 * (x[sums.size() - 1] - x[0]);
  const SumErrors errors{sums.importance_error(), sums.quartic_importance_error(),
                         sums.pull_error(), sums.quartic_pull_error()};
  dispatch<BoundHalfGaps<typename SumsOf<Moments>::Type>>(grid.columns(), grid.lows.data(),
                                                          grid.highs.data(), n, errors, worth,
                                                          widest, grid.half_gaps.data());
}

template <class Moments>
void find_gains(const SqueezeSums<Moments>& sums, const SqueezeGrid& grid,
                std::vector<double>& gains) {
  gains.assign(grid.size(), 0.0);
  for (std::size_t v = 0; v < grid.size(); ++v) {
    if (grid.open[v])
      gains[v] = split_gain(sums, grid.borders[v], grid.borders[v + 1], grid.half_gaps[v]);
  }
}

#define WKM_INSTANTIATE(Moments)                                                    \
  template void gather_sums(const SqueezeSums<Moments>&, SqueezeGrid&);             \
  template void bound_half_gaps(const SqueezeSums<Moments>&, double, SqueezeGrid&); \
  template void find_gains(const SqueezeSums<Moments>&, const SqueezeGrid&, std::vector<double>&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
