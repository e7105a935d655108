#pragma once

#include <cstddef>
#include <limits>

#include "cpu/base/eight.h"
#include "cpu/base/isa.h"
#include "cpu/intervals/moment_columns.h"
#include "math/centroid.h"
#include "math/placement.h"

namespace wkmeans {

// Intervals of a row of cells that all end at the same cell, one a lane: what the optimum of each
// costs, from the moments and the root of the step before.

constexpr std::size_t kLanes = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// All intervals [p, end) that can still matter grow by one cell.
struct Front {
  double* state;  // moments of [p, end), a column a field
  std::size_t stride;
  double* roots;       // quartic: centroid - anchor of each interval, from the step before
  double* candidates;  // costs[p] + cost of [p, end)
  double* loose;       // quartic: 1 where the cost's bound is still too low, else 0
  const double* costs;
  std::size_t first;     // the p that matter start at or a little after this multiple of kLanes
  std::size_t n_blocks;  // of kLanes; starts past the last cost infinity
};

// Relative rounding of a path's cost: generous for the few hundred cells that an interval merges.
constexpr double kTie = 1e-12;

// The least of n values, whole blocks of kLanes.
WKM_ALWAYS_INLINE double least_of(const double* values, std::size_t n) {
  static_assert(Eight::kCount == kLanes, "a block is read at once");
  Eight least = Eight::filled(kInfinity);
  for (std::size_t i = 0; i < n; i += kLanes) least.lower_to(Eight(values + i));
  return least.least();
}

WKM_ALWAYS_INLINE double least_candidate(const Front& front) {
  return least_of(front.candidates + front.first, kLanes * front.n_blocks);
}

// The iterations of the loop that follows touch different memory.
#if defined(__clang__)
#define WKM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define WKM_INDEPENDENT _Pragma("GCC ivdep")
#else
#define WKM_INDEPENDENT
#endif

struct GrowQuadratic {
  template <class Where>
  static WKM_ALWAYS_INLINE void run(Front front, QuadraticMoments cell, Where where) {
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < kLanes * front.n_blocks; ++i) {
      const std::size_t p = front.first + i;
      double* at = front.state + p;
      const QuadraticMoments moments = merge(QuadraticFields::load(at, front.stride), cell);
      QuadraticFields::store(moments, at, front.stride);
      const SecondMoments& m = moments.quadratic;
      front.candidates[p] =
          front.costs[p] + where.cost_near(moments, m.origin + m.offset, m.second);
    }
  }
};

struct GrowQuartic {
  static constexpr int kSteps = 2;       // usually enough from the root of the step before
  static constexpr int kMostRounds = 4;  // of so many steps

  template <class Where>
  static WKM_ALWAYS_INLINE void run(Front front, QuarticMoments cell, Where where) {
    grow(front, cell);
    settle(front, where);
  }

  // Returns how many roots Newton's steps did not find.
  template <class Where>
  static WKM_ALWAYS_INLINE std::size_t settle(Front front, Where where) {
    std::size_t n_solved = 0;
    refine(front, where);
    for (std::size_t block = 0; block < front.n_blocks; ++block) {
      Front alone = front;
      alone.first = front.first + kLanes * block;
      alone.n_blocks = 1;
      bool loose = is_loose(alone);
      for (int round = 1; round < kMostRounds && loose; ++round) {
        refine(alone, where);
        loose = is_loose(alone);
      }
      if (loose) n_solved += solve_loose(alone, where);
    }
    return n_solved;
  }

  // From far away Newton takes a step for every half a binade; and where a few heavy quartic
  // importances hold the centroid, its distance to them drowns in that to the I-mean.
  template <class Where>
  static WKM_ALWAYS_INLINE std::size_t solve_loose(const Front& block, Where where) {
    std::size_t n_solved = 0;
    for (std::size_t p = block.first; p < block.first + kLanes * block.n_blocks; ++p) {
      if (block.loose[p] == 0.0) continue;
      const QuarticMoments m = QuarticFields::load(block.state + p, block.stride);
      const Centre found = centre(m);
      block.roots[p] = mean_distance(anchor(m), found);
      block.candidates[p] = block.costs[p] + where.cost_near(m, found.value(), found.cost);
      block.loose[p] = 0.0;
      ++n_solved;
    }
    return n_solved;
  }

  static WKM_ALWAYS_INLINE bool is_loose(const Front& block) {
    return Eight(block.loose + block.first).largest() > 0.0;
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
  // at least K lies within slope^2 / 2K of its minimum. What overflowed on the way, and so is no
  // bound at all, counts as loose.
  template <class Where>
  static WKM_ALWAYS_INLINE void refine(Front front, Where where) {
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
          m.quadratic.second + m.quadratic.mass * y * y + fourth_power_cost(m.quartic, x);
      const double above =
          2.0 * residual * (residual / (least_stiffness > 0.0 ? least_stiffness : 1.0));
      const double slack = least_stiffness > 0.0 ? above : (residual == 0.0 ? 0.0 : cost);
      const double safe = cost > slack ? cost - slack : 0.0;
      const bool tight = slack <= 1e-14 * cost && cost < kInfinity;
      const Anchor base = anchor(m);
      const double placed = where.cost_near(m, base.origin + (base.offset + y), safe);
      // Around a root still far off may lie other values of a grid than around the optimum.
      front.candidates[p] = front.costs[p] + (tight ? placed : safe);
      front.loose[p] = front.costs[p] < kInfinity && !tight ? 1.0 : 0.0;
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

}  // namespace wkmeans
