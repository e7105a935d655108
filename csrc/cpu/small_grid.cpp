#include "cpu/small_grid.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/interval_front.h"
#include "cpu/isa.h"

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
      const double square = distance * distance;
      const double mass =
          quartic_importance ? importance[i] + quartic_importance[i] * square : importance[i];
      shares[i] = rough_cube_root(mass * square);
    }
    shares[n - 1] = 0.0;
  }
};

// Cells on either side that the bound on a half-gap takes in.
constexpr std::size_t kReach = 4;

// Cells in columns, with kReach empty ones before the first and after the last.
struct CellColumns {
  const double *low, *high, *importance, *quartic_importance;
};

// Of the cells taken in so far, for each cell.
struct Totals {
  double *mass, *radius, *quartic_mass, *quartic_radius;
};

// The same with H: I d^2 - 2 I r d + (H d^4 - 2 H r d^3) / 2 is convex and rises beyond `start`, so
// that Newton's steps never fall short of where it reaches `worth`.
WKM_ALWAYS_INLINE double with_fourth_powers(double quadratic_bound, double mass, double radius,
                                            double quartic_mass, double quartic_radius,
                                            double worth) {
  constexpr int kSteps = 2;
  const double quartic_bound =
      2.0 * quartic_radius / quartic_mass + std::sqrt(std::sqrt(2.0 * worth / quartic_mass));
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

// One more centroid, put at a boundary inside a cell, would save at least d (d - 2r) (I + H d^2 /
// 2) on points within r of it, where d is the half-gap: more than `worth` is impossible.
template <class Sums>
struct BoundHalfGaps {
  static constexpr bool kQuartic = Sums::kCount > QuadraticSums::kCount;

  static WKM_ALWAYS_INLINE void run(CellColumns cells, std::size_t n, double worth, Totals totals,
                                    double* bounds) {
    take<0>(cells, n, totals);
    for (std::size_t v = 0; v < n; ++v) bounds[v] = kInfinity;
    take<1>(cells, n, totals);
    lower(n, worth, totals, bounds);
    take<2>(cells, n, totals);
    lower(n, worth, totals, bounds);
    take<3>(cells, n, totals);
    take<4>(cells, n, totals);
    lower(n, worth, totals, bounds);
  }

  // Adds the cells that lie `Reach` to the left and to the right of each.
  template <std::size_t Reach>
  static WKM_ALWAYS_INLINE void take(CellColumns cells, std::size_t n, Totals totals) {
    WKM_INDEPENDENT
    for (std::size_t v = 0; v < n; ++v) {
      const std::size_t at = kReach + v;
      const std::size_t left = at - Reach;
      const std::size_t right = at + Reach;
      const double left_radius = cells.high[at] - cells.low[left];
      const double right_radius = cells.high[right] - cells.low[at];
      const double again = Reach > 0 ? 1.0 : 0.0;
      const double mass = cells.importance[left] + again * cells.importance[right];
      const double radius =
          cells.importance[left] * left_radius + again * (cells.importance[right] * right_radius);
      totals.mass[v] = Reach > 0 ? totals.mass[v] + mass : mass;
      totals.radius[v] = Reach > 0 ? totals.radius[v] + radius : radius;
      if (!kQuartic) continue;
      const double h_mass =
          cells.quartic_importance[left] + again * cells.quartic_importance[right];
      const double h_radius = cells.quartic_importance[left] * left_radius +
                              again * (cells.quartic_importance[right] * right_radius);
      totals.quartic_mass[v] = Reach > 0 ? totals.quartic_mass[v] + h_mass : h_mass;
      totals.quartic_radius[v] = Reach > 0 ? totals.quartic_radius[v] + h_radius : h_radius;
    }
  }

  static WKM_ALWAYS_INLINE void lower(std::size_t n, double worth, Totals totals, double* bounds) {
    WKM_INDEPENDENT
    for (std::size_t v = 0; v < n; ++v) {
      const double mass = totals.mass[v];
      const double radius = totals.radius[v];
      double bound = (radius + std::sqrt(radius * radius + mass * worth)) / mass;
      if (kQuartic) {
        bound = with_fourth_powers(bound, mass, radius, totals.quartic_mass[v],
                                   totals.quartic_radius[v], worth);
      }
      bounds[v] = bound < bounds[v] ? bound : bounds[v];  // no mass bounds nothing
    }
  }
};

// What moving boundaries out of a cell costs, at most.
template <class Moments>
double split_gain(const SmallSums<Moments>& sums, std::size_t begin, std::size_t end,
                  double half_gap) {
  using Sums = typename SumsOf<Moments>::Type;
  const double* x = sums.x();
  const Estimate whole = sums.estimate(begin, end);
  const double width = x[end - 1] - x[begin];
  const auto* above = std::upper_bound(x + begin, x + end, whole.centroid);
  const auto split = static_cast<std::size_t>(above - x);
  const Sums left = Sums::between(sums.columns(), begin, split);
  const Sums right = Sums::between(sums.columns(), split, end);
  // One boundary: a weight t beyond it gains 4 d t I + 8 d t (t^2 + d^2) H there. Either side's
  // weights may be given up, and about any point the heavier side gains more than the lighter one
  // about the boundary.
  const double a = 4.0 * half_gap;
  const double b = 8.0 * half_gap * (half_gap * half_gap + width * width);
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

void ClusterMeasure::cut(std::size_t begin, std::size_t end, std::size_t n_parts,
                         std::vector<std::size_t>& borders) const {
  const double part = (running_[end] - running_[begin]) / static_cast<double>(n_parts);
  borders.push_back(begin);
  for (std::size_t at = begin; at < end;) {
    const double limit = running_[at] + part;
    ++at;
    while (at < end && running_[at + 1] <= limit) ++at;
    borders.push_back(at);
  }
}

bool cut_stretches(const std::vector<Stretch>& stretches, std::size_t n_points,
                   const ClusterMeasure& measure, std::size_t most_cells, SmallGrid& grid) {
  std::size_t n_positions = 0;
  for (const Stretch& stretch : stretches) n_positions += stretch.size();
  const bool exact = n_positions <= most_cells;
  grid.borders.assign(1, 0);
  grid.open.clear();
  const auto fill_open = [&](bool after_gap) {
    if (after_gap) grid.open.push_back(0);
    while (grid.open.size() < grid.borders.size() - 1) {
      const std::size_t v = grid.open.size();
      grid.open.push_back(grid.borders[v + 1] - grid.borders[v] > 1 ? 1 : 0);
    }
  };
  for (const Stretch& stretch : stretches) {
    if (exact) {
      for (std::size_t i = stretch.low; i <= stretch.high; ++i) grid.borders.push_back(i);
    } else {
      const std::size_t n_parts = 2 + most_cells * stretch.size() / n_positions;
      measure.cut(stretch.low, stretch.high, n_parts, grid.borders);
    }
    fill_open(true);
  }
  grid.borders.push_back(n_points);
  grid.open.push_back(0);
  return exact;
}

template <class Moments>
void gather_sums(const SmallSums<Moments>& sums, SmallGrid& grid) {
  const SumColumns from = sums.columns();
  const std::size_t n_nodes = grid.borders.size();
  grid.stride = n_nodes + kLanes;
  constexpr std::size_t kCount = SumsOf<Moments>::Type::kCount;
  grid.sums.resize(kCount * grid.stride);
  for (std::size_t f = 0; f < kCount; ++f) {
    double* column = grid.sums.data() + f * grid.stride;
    for (std::size_t i = 0; i < n_nodes; ++i)
      column[i] = from.data[f * from.stride + grid.borders[i]];
    std::fill(column + n_nodes, column + grid.stride, 0.0);
  }
}

template <class Moments>
void bound_half_gaps(const SmallSums<Moments>& sums, double worth, SmallGrid& grid) {
  using Sums = typename SumsOf<Moments>::Type;
  thread_local Buffer<double> columns;
  const std::size_t n = grid.size();
  const std::size_t stride = n + 2 * kReach;
  columns.assign(8 * stride, 0.0);
  const auto column = [&](std::size_t number) { return columns.data() + number * stride; };
  double* low = column(0);
  double* high = column(1);
  double* importance = column(2);
  double* quartic_importance = column(3);
  for (std::size_t v = 0; v < n; ++v) {
    const Sums cell = Sums::between(grid.columns(), v, v + 1);
    low[kReach + v] = sums.x()[grid.borders[v]];
    high[kReach + v] = sums.x()[grid.borders[v + 1] - 1];
    importance[kReach + v] = cell.importance();
    quartic_importance[kReach + v] = cell.quartic_importance();
  }
  grid.half_gaps.resize(n);
  dispatch<BoundHalfGaps<Sums>>(CellColumns{low, high, importance, quartic_importance}, n, worth,
                                Totals{column(4), column(5), column(6), column(7)},
                                grid.half_gaps.data());
  const double widest = 0.5 * (sums.x()[sums.size() - 1] - sums.x()[0]);
  for (double& half_gap : grid.half_gaps) half_gap = std::min(half_gap, widest);
}

template <class Moments>
void find_discounts(const SmallSums<Moments>& sums, const SmallGrid& grid,
                    std::vector<double>& discounts) {
  const std::size_t n = grid.size();
  discounts.assign(n + 1, 0.0);
  for (std::size_t v = 0; v < n; ++v) {
    if (!grid.open[v]) continue;
    const double gain = split_gain(sums, grid.borders[v], grid.borders[v + 1], grid.half_gaps[v]);
    discounts[v] = std::max(discounts[v], gain);
    discounts[v + 1] = gain;
  }
  discounts[0] = discounts[n] = 0.0;
}

#define WKM_INSTANTIATE(Moments)                                                \
  template void gather_sums(const SmallSums<Moments>&, SmallGrid&);             \
  template void bound_half_gaps(const SmallSums<Moments>&, double, SmallGrid&); \
  template void find_discounts(const SmallSums<Moments>&, const SmallGrid&, std::vector<double>&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
