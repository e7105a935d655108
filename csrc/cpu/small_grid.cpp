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

// Sums over what lies around each cell: of I and of I times how far from any point of the cell, at
// most; the same of H.
struct Surroundings {
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
// 2) on a point within r of it, where d is the half-gap: more than `worth` is impossible.
template <bool Quartic>
struct BoundHalfGaps {
  static WKM_ALWAYS_INLINE void run(Surroundings around, std::size_t n, double worth, double widest,
                                    double* bounds) {
    WKM_INDEPENDENT
    for (std::size_t v = 0; v < n; ++v) {
      const double mass = around.mass[v];
      const double radius = around.radius[v];
      double bound = (radius + std::sqrt(radius * radius + mass * worth)) / mass;
      if (Quartic) {
        bound = with_fourth_powers(bound, mass, radius, around.quartic_mass[v],
                                   around.quartic_radius[v], worth);
      }
      bounds[v] = bound < widest ? bound : widest;  // no mass bounds nothing
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
void bound_half_gaps(const SmallSums<Moments>& sums, const Incumbent& incumbent, double worth,
                     SmallGrid& grid) {
  using Sums = typename SumsOf<Moments>::Type;
  constexpr double kReach = 0.7;  // of half-gaps: best where the weights are uniform
  thread_local Buffer<double> columns;
  const std::size_t n = grid.size();
  const std::size_t k = incumbent.boundaries.size() - 1;
  const double* x = sums.x();
  columns.resize(4 * n);
  const Surroundings around{columns.data(), columns.data() + n, columns.data() + 2 * n,
                            columns.data() + 3 * n};
  std::size_t nearest = 1;  // boundary
  std::size_t first = 0;
  std::size_t last = 0;
  for (std::size_t v = 0; v < n; ++v) {
    const double low = x[grid.borders[v]];
    const double high = x[grid.borders[v + 1] - 1];
    while (nearest + 1 < k &&
           2.0 * low > x[incumbent.boundaries[nearest]] + x[incumbent.boundaries[nearest + 1]])
      ++nearest;
    const double reach = kReach * incumbent.half_gaps[nearest];
    while (first < v && x[grid.borders[first]] < low - reach) ++first;
    while (first > 0 && x[grid.borders[first - 1]] >= low - reach) --first;
    last = std::max(last, v + 1);
    while (last > v + 1 && x[grid.borders[last] - 1] > high + reach) --last;
    while (last < n && x[grid.borders[last + 1] - 1] <= high + reach) ++last;
    const Sums left = Sums::between(grid.columns(), first, v);
    const Sums cell = Sums::between(grid.columns(), v, v + 1);
    const Sums right = Sums::between(grid.columns(), v + 1, last);
    const double width = high - low;
    around.mass[v] =
        left.importance() + cell.importance() + right.importance() - sums.importance_error();
    around.radius[v] = right.pull_from(low) - left.pull_from(high) + width * cell.importance() +
                       3.0 * sums.pull_error();
    around.quartic_mass[v] = left.quartic_importance() + cell.quartic_importance() +
                             right.quartic_importance() - sums.quartic_importance_error();
    around.quartic_radius[v] = right.quartic_pull_from(low) - left.quartic_pull_from(high) +
                               width * cell.quartic_importance() + 3.0 * sums.quartic_pull_error();
  }
  grid.half_gaps.resize(n);
  const double widest = 0.5 * (x[sums.size() - 1] - x[0]);
  dispatch<BoundHalfGaps<Moments::kQuartic>>(around, n, worth, widest, grid.half_gaps.data());
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

#define WKM_INSTANTIATE(Moments)                                                                  \
  template void gather_sums(const SmallSums<Moments>&, SmallGrid&);                               \
  template void bound_half_gaps(const SmallSums<Moments>&, const Incumbent&, double, SmallGrid&); \
  template void find_discounts(const SmallSums<Moments>&, const SmallGrid&, std::vector<double>&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
