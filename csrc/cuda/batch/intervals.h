#pragma once

#include <cstddef>

#include "cuda/batch/placement.h"
#include "cuda/batch/points.h"
#include "cuda/batch/team.h"
#include "math/centroid.h"

namespace wkmeans::cuda {

constexpr int kLogBlock = 3;
constexpr int kBlock = 1 << kLogBlock;

WKM_HD int bit_length(unsigned value) {
#if defined(__CUDA_ARCH__)
  return 32 - __clz(static_cast<int>(value));
#else
  int length = 0;
  for (; value != 0; value >>= 1) ++length;
  return length;
#endif
}

WKM_HD int blocks_of(int n_points) { return (n_points + kBlock - 1) >> kLogBlock; }
WKM_HD int levels_of(int n_points) {
  return n_points > 0 ? bit_length(static_cast<unsigned>(blocks_of(n_points) - 1)) : 0;
}

// Moments as a row of doubles.
template <class Moments, class Placement>
struct StoredMoments;

// The mean is held by its distance from a point that lies between it and the part it is merged
// with: nothing cancels in the distance between the two means, which is all that a free centroid's
// quadratic cost asks for.
template <>
struct StoredMoments<QuadraticMoments, Anywhere> {
  static constexpr int kCount = 3;
  // A lane waits for its division most of the time: it looks at two intervals at once.
  static constexpr bool kInPairs = true;

  static WKM_HD QuadraticMoments load(const double* at, double middle) {
    return {{at[0], middle, at[1], at[2]}};
  }
  static WKM_HD void store(const QuadraticMoments& m, double middle, double* at) {
    at[0] = m.quadratic.mass;
    at[1] = (m.quadratic.origin - middle) + m.quadratic.offset;
    at[2] = m.quadratic.second;
  }
};

// Distances from the mean to a grid, or between the means of I and H, need every digit of it.
template <>
struct StoredMoments<QuadraticMoments, OnGrid> {
  static constexpr int kCount = 4;
  static constexpr bool kInPairs = true;

  static WKM_HD QuadraticMoments load(const double* at, double /*middle*/) {
    return {{at[0], at[1], at[2], at[3]}};
  }
  static WKM_HD void store(const QuadraticMoments& m, double /*middle*/, double* at) {
    at[0] = m.quadratic.mass;
    at[1] = m.quadratic.origin;
    at[2] = m.quadratic.offset;
    at[3] = m.quadratic.second;
  }
};

template <class Placement>
struct StoredMoments<QuarticMoments, Placement> {
  using Quadratic = StoredMoments<QuadraticMoments, OnGrid>;
  static constexpr int kCount = Quadratic::kCount + 6;
  static constexpr bool kInPairs = false;  // its root keeps it busy

  static WKM_HD QuarticMoments load(const double* at, double middle) {
    const double* h = at + Quadratic::kCount;
    return {Quadratic::load(at, middle).quadratic, {h[0], h[1], h[2], h[3], h[4], h[5]}};
  }
  static WKM_HD void store(const QuarticMoments& m, double middle, double* at) {
    Quadratic::store({m.quadratic}, middle, at);
    double* h = at + Quadratic::kCount;
    h[0] = m.quartic.mass;
    h[1] = m.quartic.origin;
    h[2] = m.quartic.offset;
    h[3] = m.quartic.second;
    h[4] = m.quartic.third;
    h[5] = m.quartic.fourth;
  }
};

// The moments of any interval of points in one merge. Blocks of points are the leaves of a binary
// tree; each node keeps the moments from its middle outward, to every point of either half. An
// interval that is no part of one block straddles the middle of just one node, and is made of a
// left and a right part there.
template <class Moments, class Placement>
class TeamIntervals {
public:
  using Stored = StoredMoments<Moments, Placement>;

  WKM_HD TeamIntervals(const TeamPoints& points, const Placement& placement, double* halves)
      : points_(points), placement_(placement), halves_(halves) {}

  WKM_HD int n_points() const { return points_.size; }

  WKM_HD Moments point(int p) const {
    return Moments::of(points_.weight[p], points_.importance[p],
                       points_.quartic_importance ? points_.quartic_importance[p] : 0.0);
  }

  // Points [begin, end) one by one.
  WKM_HD Moments summed(int begin, int end) const {
    Moments moments{};
    for (int p = begin; p < end; ++p) moments = merge(moments, point(p));
    return moments;
  }

  // Calls visit(p, cost of [p, end)) for p = from, from - 1, ... down to `last`, until that returns
  // false.
  template <class Visit>
  WKM_HD void visit_starts(int end, int from, int last, Visit&& visit) const {
    int p = from;
    for (; p >= last && p >> kLogBlock == (end - 1) >> kLogBlock; --p) {
      if (!visit(p, placement_.cost(summed(p, end)))) return;
    }
    while (p >= last) {
      const int level = level_of(p, end - 1);
      const int middle = middle_of(end - 1, level);
      const int first = larger(last, middle - (kBlock << level));
      const double at_middle = points_.weight[middle];
      const double* halves = half(level, 0);
      const Moments right = Stored::load(half(level, end - 1), at_middle);
      const auto cost_from = [&](int start) {
        return placement_.cost(merge(Stored::load(halves + start * kStride, at_middle), right));
      };
      for (; Stored::kInPairs && p > first; p -= 2) {
        const double cost = cost_from(p);
        const double next_cost = cost_from(p - 1);
        if (!visit(p, cost) || !visit(p - 1, next_cost)) return;
      }
      for (; p >= first; --p) {
        if (!visit(p, cost_from(p))) return;
      }
    }
  }

  // What a tree's nodes are made from: a block's own moments, which become those of ever larger
  // nodes, and what their node holds before and after a block.
  struct Building {
    Moments* node;
    Moments* before;
    Moments* after;
  };

  template <class Team>
  WKM_HD void build(Team& team, const Building& blocks) {
    const int n_blocks = blocks_of(points_.size);
    for_each(team, n_blocks, [&](int b) {
      blocks.node[b] = summed(first_of(b), end_of(b));
      blocks.before[b] = blocks.after[b] = Moments{};
    });
    for (int level = 0; level < levels_of(points_.size); ++level) {
      const int half = 1 << level;
      for_each(team, n_blocks, [&](int b) {
        const int begin = b >> (level + 1) << (level + 1);
        const int middle = begin + half;
        if (middle >= n_blocks) return;
        if (b < middle) {
          fill_left(b, level, points_.weight[middle << kLogBlock], blocks.after[b]);
          blocks.after[b] = merge(blocks.after[b], blocks.node[middle]);
        } else {
          fill_right(b, level, points_.weight[middle << kLogBlock], blocks.before[b]);
          blocks.before[b] = merge(blocks.node[begin], blocks.before[b]);
        }
      });
      for_each(team, (n_blocks + 2 * half - 1) >> (level + 1), [&](int node) {
        const int begin = node << (level + 1);
        if (begin + half < n_blocks)
          blocks.node[begin] = merge(blocks.node[begin], blocks.node[begin + half]);
      });
    }
  }

private:
  static constexpr std::ptrdiff_t kStride = Stored::kCount;

  static WKM_HD int level_of(int p, int q) {
    return bit_length(static_cast<unsigned>((p >> kLogBlock) ^ (q >> kLogBlock))) - 1;
  }
  // Of the node whose right half holds point q.
  static WKM_HD int middle_of(int q, int level) {
    return q >> (kLogBlock + level) << (kLogBlock + level);
  }

  WKM_HD static int first_of(int block) { return block << kLogBlock; }
  WKM_HD int end_of(int block) const { return smaller(points_.size, (block + 1) << kLogBlock); }

  WKM_HD double* half(int level, int p) const {
    return halves_ + (static_cast<std::ptrdiff_t>(level) * points_.size + p) * kStride;
  }

  WKM_HD void fill_left(int block, int level, double middle, Moments moments) {
    for (int p = end_of(block) - 1; p >= first_of(block); --p) {
      moments = merge(point(p), moments);
      Stored::store(moments, middle, half(level, p));
    }
  }

  WKM_HD void fill_right(int block, int level, double middle, Moments moments) {
    for (int p = first_of(block); p < end_of(block); ++p) {
      moments = merge(moments, point(p));
      Stored::store(moments, middle, half(level, p));
    }
  }

  TeamPoints points_;
  Placement placement_;
  double* halves_;
};

}  // namespace wkmeans::cuda
