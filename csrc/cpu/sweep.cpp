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
  double* excess;      // quartic: by how much the cost's bound is too loose
  const double* costs;
  std::size_t first;     // the p that matter start at or a little after this multiple of kLanes
  std::size_t n_blocks;  // of kLanes; starts past the last cost infinity
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

// The iterations of the loop that follows touch different memory.
#if defined(__clang__)
#define WKM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define WKM_INDEPENDENT _Pragma("GCC ivdep")
#else
#define WKM_INDEPENDENT
#endif

// Growing says whether every candidate has the digits of its interval's cost.
struct GrowQuadratic {
  template <class Cost>
  static WKM_ALWAYS_INLINE bool run(Front front, QuadraticMoments cell, Cost cost) {
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < kLanes * front.n_blocks; ++i) {
      const std::size_t p = front.first + i;
      double* at = front.state + p;
      const QuadraticMoments moments = merge(QuadraticFields::load(at, front.stride), cell);
      QuadraticFields::store(moments, at, front.stride);
      const SecondMoments& m = moments.quadratic;
      front.candidates[p] = front.costs[p] + cost(moments, m.origin + m.offset, m.second);
    }
    return true;
  }
};

struct GrowQuartic {
  static constexpr int kSteps = 2;        // usually enough from the root of the step before
  static constexpr int kMostRounds = 40;  // from anywhere

  template <class Cost>
  static WKM_ALWAYS_INLINE bool run(Front front, QuarticMoments cell, Cost cost) {
    grow(front, cell);
    refine(front, cost);
    bool settled = true;
    for (std::size_t block = 0; block < front.n_blocks; ++block) {
      Front alone = front;
      alone.first = front.first + kLanes * block;
      alone.n_blocks = 1;
      bool loose = is_loose(alone);
      for (int round = 1; round < kMostRounds && loose; ++round) {
        refine(alone, cost);
        loose = is_loose(alone);
      }
      settled = settled && !loose;
    }
    return settled;
  }

  static WKM_ALWAYS_INLINE bool is_loose(const Front& block) {
    bool loose = false;
    for (std::size_t p = block.first; p < block.first + kLanes; ++p) {
      loose |= block.excess[p] > 0.0 && block.costs[p] < kInfinity;
    }
    return loose;
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

  static WKM_ALWAYS_INLINE void grow(Front front, QuarticMoments cell) {
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < kLanes * front.n_blocks; ++i) {
      const std::size_t p = front.first + i;
      double* at = front.state + p;
      const QuarticMoments before = QuarticFields::load(at, front.stride);
      const QuarticMoments moments = merge(before, cell);
      QuarticFields::store(moments, at, front.stride);
      const double shift = mean_distance(anchor(moments), anchor(before));
      front.roots[p] += before.quadratic.mass + before.quartic.mass > 0.0 ? shift : 0.0;
    }
  }

  // Moves the roots by Newton and bounds the costs from below: a convex function with curvature of
  // at least K lies within slope^2 / 2K of its minimum. `excess` is positive where that bound is
  // still loose.
  template <class Cost>
  static WKM_ALWAYS_INLINE void refine(Front front, Cost placed_cost) {
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < kLanes * front.n_blocks; ++i) {
      const std::size_t p = front.first + i;
      const QuarticMoments m = QuarticFields::load(front.state + p, front.stride);
      const double pull = 0.5 * m.quadratic.mass;
      const double gap = mean_distance(m.quartic, anchor(m));
      const double least_stiffness = pull + 3.0 * m.quartic.second;
      double y = front.roots[p];  // centroid - anchor
      for (int step = 0; step < kSteps; ++step) y -= newton_step(m, pull, gap + y, y);
      front.roots[p] = y;
      const double x = gap + y;  // centroid - H-mean
      const double residual = force(m, pull, x, y);
      const double cost =
          m.quadratic.second + m.quadratic.mass * (y * y) + fourth_power_cost(m.quartic, x);
      const double slack =
          2.0 * residual * (residual / (least_stiffness > 0.0 ? least_stiffness : 1.0));
      const double bound = least_stiffness > 0.0 ? cost - slack : (residual == 0.0 ? cost : 0.0);
      const double safe = bound > 0.0 ? bound : 0.0;
      const double excess = slack - 1e-14 * cost;
      const Anchor base = anchor(m);
      const double placed = placed_cost(m, base.origin + (base.offset + y), safe);
      // Around a root still far off may lie other values of a grid than around the optimum.
      front.candidates[p] = front.costs[p] + (excess > 0.0 ? safe : placed);
      front.excess[p] = excess;
    }
  }

  // Half the derivative of the cost by the centroid, halved again.
  static WKM_ALWAYS_INLINE double force(const QuarticMoments& m, double pull, double x, double y) {
    return pull * y + (x * (m.quartic.mass * (x * x) + 3.0 * m.quartic.second) - m.quartic.third);
  }

  static WKM_ALWAYS_INLINE double newton_step(const QuarticMoments& m, double pull, double x,
                                              double y) {
    const double stiffness = pull + 3.0 * (m.quartic.second + m.quartic.mass * (x * x));
    return force(m, pull, x, y) / (stiffness > 0.0 ? stiffness : 1.0);
  }
};

WKM_ALWAYS_INLINE double least_candidate(const Front& front) {
  double least[kLanes];
  std::fill(least, least + kLanes, kInfinity);
  for (std::size_t block = 0; block < front.n_blocks; ++block) {
    const double* candidates = front.candidates + front.first + kLanes * block;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      least[lane] = candidates[lane] < least[lane] ? candidates[lane] : least[lane];
    }
  }
  return *std::min_element(least, least + kLanes);
}

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
  // Returns the number of intervals looked at, at most a step's more than `budget`.
  static WKM_ALWAYS_INLINE double run(const Moments* cells, std::size_t n, double multiplier,
                                      const double* discounts, double budget, Cost cost,
                                      Front front, double* costs, std::uint32_t* previous) {
    costs[0] = 0.0;
    std::size_t first = 0;
    double work = 0.0;
    for (std::size_t i = 0; i < n && work <= budget; ++i) {
      FieldsOf<Moments>::Type::store(Moments{}, front.state + i, front.stride);
      front.roots[i] = 0.0;
      front.first = first / kLanes * kLanes;
      front.n_blocks = (i - front.first) / kLanes + 1;
      work += static_cast<double>(kLanes * front.n_blocks);
      const bool settled = GrowFor<Moments>::Type::run(front, cells[i], cost);
      const double least = least_candidate(front);
      // By the Monge property a start that has lost to a later one loses for good; starts that tie
      // within rounding have not lost, nor has any to a cost that is only bounded from below.
      const double lost = least + kTie * (std::fabs(least) + multiplier);
      while (settled && first < i && front.candidates[first] > lost) ++first;
      std::size_t best = front.first;
      while (best < i && front.candidates[best] != least) ++best;
      previous[i + 1] = static_cast<std::uint32_t>(best);
      costs[i + 1] = least + multiplier - (discounts && i + 1 < n ? discounts[i + 1] : 0.0);
    }
    return work;
  }
};

}  // namespace

template <class Moments>
const Potentials& Sweeper<Moments>::run(const std::vector<Moments>& cells, double multiplier,
                                        const std::vector<double>& discounts) {
  const std::size_t n = cells.size();
  const std::size_t stride =
      (n / kLanes + 2) * kLanes;  // whole blocks, whatever the last one holds
  state_.assign(FieldsOf<Moments>::Type::kCount * stride, 0.0);
  roots_.assign(stride, 0.0);
  candidates_.resize(stride);
  excess_.resize(stride);
  potentials_.costs.assign(stride, kInfinity);
  potentials_.previous.assign(n + 1, 0);
  const Front front{state_.data(),
                    stride,
                    roots_.data(),
                    candidates_.data(),
                    excess_.data(),
                    potentials_.costs.data(),
                    0,
                    0};
  const double* earned = discounts.empty() ? nullptr : discounts.data();
  double* costs = potentials_.costs.data();
  std::uint32_t* previous = potentials_.previous.data();
  budget_ -=
      placement_.grid()
          ? dispatch<SweepKernel<Moments, GridCost>>(cells.data(), n, multiplier, earned, budget_,
                                                     GridCost{*placement_.grid()}, front, costs,
                                                     previous)
          : dispatch<SweepKernel<Moments, FreeCost>>(cells.data(), n, multiplier, earned, budget_,
                                                     FreeCost{}, front, costs, previous);
  if (budget_ < 0.0) throw OutOfWork{};
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
