#include "cpu/small_grid.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

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

double mass_of(const QuadraticMoments& m) { return m.quadratic.mass; }
double mass_of(const QuarticMoments& m) { return m.quadratic.mass; }
double quartic_mass_of(const QuadraticMoments&) { return 0.0; }
double quartic_mass_of(const QuarticMoments& m) { return m.quartic.mass; }

// sqrt(sum v_i * sum v_i (w - mean)^2) over a cell for v_i = a I_i + b H_i.
double blended_spread(const QuadraticMoments& m, double a, double /*b*/) {
  return a * std::sqrt(m.quadratic.mass) * std::sqrt(m.quadratic.second);
}
double blended_spread(const QuarticMoments& m, double a, double b) {
  const SecondMoments blend = merge(
      {a * m.quadratic.mass, m.quadratic.origin, m.quadratic.offset, a * m.quadratic.second},
      SecondMoments{b * m.quartic.mass, m.quartic.origin, m.quartic.offset, b * m.quartic.second});
  return std::sqrt(blend.mass) * std::sqrt(blend.second);
}

// How far apart two neighbouring centroids around a cell can lie, halved. One more centroid, put at
// the boundary, would save at least d (d - 2r) (A_I + A_H d^2 / 2) on the points within r of it,
// where d is the half-gap: more than `worth` is impossible.
double widest_half_gap(double radius, double importance, double quartic_importance, double worth) {
  const double quadratic = radius + std::sqrt(radius * radius + worth / importance);
  if (!(quartic_importance > 0.0)) return quadratic;
  const double quartic = 2.0 * radius + std::sqrt(std::sqrt(2.0 * worth / quartic_importance));
  return quadratic < quartic ? quadratic : quartic;  // a zero importance bounds nothing
}

// What splitting an open cell between its neighbours' centroids can gain over leaving it whole.
template <class Moments>
class SplitGain {
public:
  SplitGain(const Points& points, const SmallGrid<Moments>& grid, const Placement& placement,
            double worth)
      : points_(points), grid_(grid), placement_(placement), worth_(worth) {}

  double of(std::size_t v) const {
    if (!grid_.open[v]) return 0.0;
    const double width = high(v) - low(v);
    const double half_gap = half_gap_around(v);
    // One boundary: weights t from it gain 4 d t I + 8 d t (t^2 + d^2) H on one side of it, and the
    // lighter side is given up. min(a, b) <= (a + b) / 2, then Cauchy-Schwarz.
    const double one_boundary =
        0.5 * blended_spread(grid_.cells[v], 4.0 * half_gap,
                             8.0 * half_gap * (half_gap * half_gap + width * width));
    // More: a centroid of the optimum lies inside the cell and can serve all of it.
    const double square = width * width;
    const double more =
        square * (mass_of(grid_.cells[v]) + quartic_mass_of(grid_.cells[v]) * square);
    return std::max(one_boundary, more);
  }

private:
  static constexpr int kMostReach = 4;

  double low(std::size_t v) const { return points_.weight[grid_.borders[v]]; }
  double high(std::size_t v) const { return points_.weight[grid_.borders[v + 1] - 1]; }

  // Takes in a cell on either side at a time.
  double half_gap_around(std::size_t v) const {
    // The centroid to add may have to stand up to half a step off the boundary.
    const double misplaced =
        0.25 * placement_.step_at(std::max(std::fabs(low(v)), std::fabs(high(v))));
    double radius = misplaced + (high(v) - low(v));
    double importance = mass_of(grid_.cells[v]);
    double quartic_importance = quartic_mass_of(grid_.cells[v]);
    double bound = widest_half_gap(radius, importance, quartic_importance, worth_);
    std::size_t left = v;
    std::size_t right = v;
    for (int reach = 0; reach < kMostReach; ++reach) {
      if (left > 0) take(--left, importance, quartic_importance);
      if (right + 1 < grid_.size()) take(++right, importance, quartic_importance);
      radius = misplaced + std::max(high(v) - low(left), high(right) - low(v));
      if (2.0 * radius >= bound) break;
      bound = std::min(bound, widest_half_gap(radius, importance, quartic_importance, worth_));
    }
    return bound;
  }

  void take(std::size_t v, double& importance, double& quartic_importance) const {
    importance += mass_of(grid_.cells[v]);
    quartic_importance += quartic_mass_of(grid_.cells[v]);
  }

  const Points& points_;
  const SmallGrid<Moments>& grid_;
  const Placement& placement_;
  double worth_;
};

}  // namespace

template <class Moments>
bool SmallGrid<Moments>::is_exact() const {
  return std::none_of(open.begin(), open.end(), [](char is_open) { return is_open != 0; });
}

void ClusterMeasure::measure(const Points& points) {
  const std::size_t n = points.size();
  shares_.resize(n);
  dispatch<MeasurePoints>(points.weight.data(), points.importance.data(),
                          points.quartic() ? points.quartic_importance.data() : nullptr, n,
                          shares_.data());
  pin_ = points.pin;
  if (pin_ != kNoPoint) shares_[pin_] = 0.0;  // it says where a centroid is, not where many are
  total_ = 0.0;
  for (const double share : shares_) total_ += share;
}

void ClusterMeasure::cut(std::size_t n_parts, std::vector<std::size_t>& borders) const {
  const std::size_t n = shares_.size();
  const double part = total_ / static_cast<double>(n_parts);
  borders.clear();
  borders.push_back(0);
  double share = 0.0;
  const auto cut_at = [&](std::size_t border) {
    if (border > borders.back() && border < n) borders.push_back(border);
    share = 0.0;
  };
  for (std::size_t i = 0; i < n; ++i) {
    const bool alone = shares_[i] > part || i == pin_;  // the pin would outweigh its neighbours
    if (share + shares_[i] > part || alone) cut_at(i);
    share += shares_[i];
    if (alone) cut_at(i + 1);
  }
  borders.push_back(n);
}

template <class Moments>
void fill_cells(const Points& points, SmallGrid<Moments>& grid) {
  const DirectMoments<Moments> moments(points);
  grid.cells.resize(grid.size());
  for (std::size_t v = 0; v < grid.size(); ++v) {
    grid.cells[v] = moments.range(grid.borders[v], grid.borders[v + 1]);
  }
}

template <class Moments>
void find_split_gains(const Points& points, const SmallGrid<Moments>& grid,
                      const Placement& placement, double worth, std::vector<double>& gains) {
  const SplitGain<Moments> gain(points, grid, placement, worth);
  gains.resize(grid.size());
  for (std::size_t v = 0; v < grid.size(); ++v) gains[v] = gain.of(v);
}

template <class Moments>
void refine(const std::vector<char>& alive, const std::vector<std::size_t>& boundaries,
            std::size_t most_cells, SmallGrid<Moments>& grid) {
  const std::size_t n = grid.size();
  const auto stays_open = [&](std::size_t v) {
    return v < n && grid.open[v] && (alive[v] || alive[v + 1]);
  };
  std::size_t n_open = 0;
  std::size_t n_alive = 0;
  for (std::size_t v = 0; v < n; ++v) {
    n_open += stays_open(v);
    n_alive += alive[v + 1] != 0;
  }
  const std::size_t room = most_cells > n_alive ? most_cells - n_alive : 0;
  const std::size_t n_parts = std::max<std::size_t>(2, room / std::max<std::size_t>(n_open, 1));
  std::vector<std::size_t> borders{0};
  std::vector<char> open;
  const auto cut = [&](std::size_t border, bool is_open) {
    if (border == borders.back()) return;
    open.push_back(is_open && border - borders.back() > 1 ? 1 : 0);
    borders.push_back(border);
  };
  auto boundary = boundaries.begin();
  for (std::size_t v = 0; v < n; ++v) {
    const std::size_t begin = grid.borders[v];
    const std::size_t end = grid.borders[v + 1];
    if (stays_open(v)) {
      const std::size_t parts = std::min(n_parts, end - begin);
      for (std::size_t part = 1; part <= parts; ++part) {
        const std::size_t border = begin + (end - begin) * part / parts;
        while (boundary != boundaries.end() && *boundary <= borders.back()) ++boundary;
        for (; boundary != boundaries.end() && *boundary < border; ++boundary) cut(*boundary, true);
        cut(border, true);
      }
      continue;
    }
    if (v + 1 == n || alive[v + 1] || stays_open(v + 1)) cut(end, false);
  }
  grid.borders = std::move(borders);
  grid.open = std::move(open);
}

#define WKM_INSTANTIATE(Moments)                                                               \
  template struct SmallGrid<Moments>;                                                          \
  template void fill_cells(const Points&, SmallGrid<Moments>&);                                \
  template void find_split_gains(const Points&, const SmallGrid<Moments>&, const Placement&,   \
                                 double, std::vector<double>&);                                \
  template void refine(const std::vector<char>&, const std::vector<std::size_t>&, std::size_t, \
                       SmallGrid<Moments>&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
