#include "cpu/sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/isa.h"
#include "cpu/moment_columns.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

constexpr std::size_t kLanes = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Relative rounding of a potential: generous for the few hundred cells that an interval merges.
constexpr double kTie = 1e-12;

// All intervals [p, end) that can still matter grow by one cell.
struct Front {
  double* state;  // moments of [p, end), a column a field
  std::size_t stride;
  double* roots;       // quartic: centroid - anchor of each interval, from the step before
  double* candidates;  // costs[p] + cost of [p, end)
  const double* costs;
  std::size_t first, last;  // the p that matter
};

// What a cluster costs about its free optimum, or about the better of the grid's values around
// that.
struct FreeCost {
  template <class Moments>
  WKM_HD double operator()(const Moments&, double /*optimum*/, double free_cost) const {
    return free_cost;
  }
};
struct GridCost {
  CentroidGrid grid;

  template <class Moments>
  WKM_HD double operator()(const Moments& moments, double optimum, double /*free_cost*/) const {
    return best_of_neighbours(moments, optimum, grid).cost;
  }
};

// Each returns the least candidate.
struct GrowQuadratic {
  template <class Cost>
  static WKM_ALWAYS_INLINE double run(const Front& front, const QuadraticMoments& cell,
                                      const Cost& cost) {
    double least[kLanes];
    std::fill(least, least + kLanes, kInfinity);
    for (std::size_t p = front.first; p <= front.last; p += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        double* at = front.state + p + lane;
        const QuadraticMoments moments = merge(QuadraticFields::load(at, front.stride), cell);
        QuadraticFields::store(moments, at, front.stride);
        const SecondMoments& m = moments.quadratic;
        const double candidate =
            front.costs[p + lane] + cost(moments, m.origin + m.offset, m.second);
        front.candidates[p + lane] = candidate;
        least[lane] = candidate < least[lane] ? candidate : least[lane];
      }
    }
    return *std::min_element(least, least + kLanes);
  }
};

struct GrowQuartic {
  static constexpr int kSteps = 2;        // usually enough from the root of the step before
  static constexpr int kMostRounds = 40;  // from anywhere

  template <class Cost>
  static WKM_ALWAYS_INLINE double run(const Front& front, const QuarticMoments& cell,
                                      const Cost& cost) {
    double least[kLanes];
    std::fill(least, least + kLanes, kInfinity);
    for (std::size_t p = front.first; p <= front.last; p += kLanes) {
      grow(front, p, cell);
      for (int round = 0; round < kMostRounds; ++round) {
        if (refine(front, p, cost) <= 0.0) break;
      }
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const double candidate = front.candidates[p + lane];
        least[lane] = candidate < least[lane] ? candidate : least[lane];
      }
    }
    return *std::min_element(least, least + kLanes);
  }

  struct Anchor {
    double origin, offset;
  };

  // Roots are held about the I-mean: the cost is at its most delicate where I dominates, and the
  // distance to the I-mean is then too small to survive a detour over any other reference.
  static WKM_ALWAYS_INLINE Anchor anchor(const QuarticMoments& m) {
    const bool has_quadratic = m.quadratic.mass > 0.0;
    return {has_quadratic ? m.quadratic.origin : m.quartic.origin,
            has_quadratic ? m.quadratic.offset : m.quartic.offset};
  }

  static WKM_ALWAYS_INLINE void grow(const Front& front, std::size_t p,
                                     const QuarticMoments& cell) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      double* at = front.state + p + lane;
      const QuarticMoments before = QuarticFields::load(at, front.stride);
      const QuarticMoments moments = merge(before, cell);
      QuarticFields::store(moments, at, front.stride);
      const double shift = mean_distance(anchor(moments), anchor(before));
      front.roots[p + lane] += before.empty() ? 0.0 : shift;
    }
  }

  // Moves the roots by Newton and bounds the costs from below: a convex function with curvature of
  // at least K lies within slope^2 / 2K of its minimum. Returns by how much the worst bound is too
  // loose.
  template <class Cost>
  static WKM_ALWAYS_INLINE double refine(const Front& front, std::size_t p,
                                         const Cost& placed_cost) {
    double excess[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const QuarticMoments m = QuarticFields::load(front.state + p + lane, front.stride);
      const double pull = 0.5 * m.quadratic.mass;
      const double gap = mean_distance(m.quartic, anchor(m));
      double y = front.roots[p + lane];  // centroid - anchor
      double x = gap + y;                // centroid - H-mean
      double residual = 0.0;
      for (int step = 0; step <= kSteps; ++step) {
        const double square = x * x;
        const double stiffness = pull + 3.0 * (m.quartic.second + m.quartic.mass * square);
        residual =
            pull * y + (x * (m.quartic.mass * square + 3.0 * m.quartic.second) - m.quartic.third);
        if (step == kSteps) break;
        y -= residual / (stiffness > 0.0 ? stiffness : 1.0);
        x = gap + y;
      }
      front.roots[p + lane] = y;
      const double cost =
          m.quadratic.second + m.quadratic.mass * (y * y) + fourth_power_cost(m.quartic, x);
      const double least_stiffness = pull + 3.0 * m.quartic.second;
      const double slack =
          2.0 * residual * (residual / (least_stiffness > 0.0 ? least_stiffness : 1.0));
      const double bound = least_stiffness > 0.0 || residual == 0.0 ? cost - slack : 0.0;
      const Anchor base = anchor(m);
      front.candidates[p + lane] =
          front.costs[p + lane] +
          placed_cost(m, base.origin + (base.offset + y), bound > 0.0 ? bound : 0.0);
      // Lanes past the last interval cost infinity whatever their root.
      excess[lane] = front.costs[p + lane] < kInfinity ? slack - 1e-14 * cost : 0.0;
    }
    return *std::max_element(excess, excess + kLanes);
  }
};

template <class Moments>
struct GrowFor;
template <>
struct GrowFor<QuadraticMoments> {
  using Type = GrowQuadratic;
};
template <>
struct GrowFor<QuarticMoments> {
  using Type = GrowQuartic;
};

template <class Moments, class Cost>
struct SweepKernel {
  static WKM_ALWAYS_INLINE void run(const Moments* cells, std::size_t n, double multiplier,
                                    const double* discounts, Cost cost, Front front, double* costs,
                                    std::uint32_t* previous) {
    costs[0] = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      FieldsOf<Moments>::Type::store(Moments{}, front.state + i, front.stride);
      front.roots[i] = 0.0;
      front.last = i;
      const double least = GrowFor<Moments>::Type::run(front, cells[i], cost);
      // By the Monge property a start that has lost to a later one loses for good; starts that tie
      // within rounding have not lost.
      while (front.candidates[front.first] > least + kTie * (std::fabs(least) + multiplier))
        ++front.first;
      std::size_t best = front.first;
      while (best < i && front.candidates[best] != least) ++best;
      previous[i + 1] = static_cast<std::uint32_t>(best);
      costs[i + 1] = least + multiplier - (discounts && i + 1 < n ? discounts[i + 1] : 0.0);
    }
  }
};

}  // namespace

template <class Moments>
const Potentials& Sweeper<Moments>::run(const std::vector<Moments>& cells, double multiplier,
                                        const std::vector<double>& discounts) {
  const std::size_t n = cells.size();
  const std::size_t stride = n + kLanes;
  state_.assign(FieldsOf<Moments>::Type::kCount * stride, 0.0);
  roots_.assign(stride, 0.0);
  candidates_.resize(stride);
  potentials_.costs.assign(stride + 1, kInfinity);
  potentials_.previous.assign(n + 1, 0);
  const Front front{
      state_.data(), stride, roots_.data(), candidates_.data(), potentials_.costs.data(), 0, 0};
  const double* earned = discounts.empty() ? nullptr : discounts.data();
  if (placement_.grid()) {
    dispatch<SweepKernel<Moments, GridCost>>(cells.data(), n, multiplier, earned,
                                             GridCost{*placement_.grid()}, front,
                                             potentials_.costs.data(), potentials_.previous.data());
  } else {
    dispatch<SweepKernel<Moments, FreeCost>>(cells.data(), n, multiplier, earned, FreeCost{}, front,
                                             potentials_.costs.data(), potentials_.previous.data());
  }
  potentials_.costs.resize(n + 1);
  return potentials_;
}

std::vector<std::uint32_t> shortest_path(const Potentials& potentials) {
  std::vector<std::uint32_t> path{static_cast<std::uint32_t>(potentials.costs.size() - 1)};
  while (path.back() != 0) path.push_back(potentials.previous[path.back()]);
  std::reverse(path.begin(), path.end());
  return path;
}

template class Sweeper<QuadraticMoments>;
template class Sweeper<QuarticMoments>;

}  // namespace wkmeans
