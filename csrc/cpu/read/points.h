#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/base/buffer.h"
#include "cpu/read/column.h"
#include "math/moments.h"

namespace wkmeans {

constexpr std::size_t kNoPoint = static_cast<std::size_t>(-1);
constexpr std::uint32_t kNoGroup = 0xffffffffu;

// Several weights that one point stands for: a bucket, or a run of these.
struct PointGroup {
  QuarticMoments moments;
  double low, high;  // the least and the largest weight it may hold
  bool divisible;    // a boundary of the optimum may lie inside
};

// What a solver sees of a problem: the distinct weights that carry importance, ascending, with the
// importances of equal weights added up. Where no weight carries any, each counts 1.
struct Points {
  Column weight;
  Column importance;
  Column quartic_importance;  // empty where the objective is quadratic

  std::size_t most_merged = 1;  // equal weights whose importances make up one point

  std::size_t pin = kNoPoint;  // a point at zero so important that its centroid is zero

  // Points that stand for several weights, whose `weight` is the mean.
  Buffer<PointGroup> groups;
  Buffer<std::uint32_t> group_of;  // by point; empty where every point is one weight

  std::size_t size() const { return weight.size(); }
  const PointGroup* group(std::size_t i) const {
    return group_of.empty() || group_of[i] == kNoGroup ? nullptr : &groups[group_of[i]];
  }
  double low(std::size_t i) const { return group(i) ? group(i)->low : weight[i]; }
  double high(std::size_t i) const { return group(i) ? group(i)->high : weight[i]; }
  bool is_divisible(std::size_t i) const { return group(i) && group(i)->divisible; }
  bool quartic() const { return !quartic_importance.empty(); }
};

template <class Moments>
Moments point_moments(const Points& points, std::size_t i) {
  if (const PointGroup* group = points.group(i)) return Moments::part_of(group->moments);
  return Moments::of(points.weight[i], points.importance[i],
                     points.quartic() ? points.quartic_importance[i] : 0.0);
}

// Adds a point that stands for a group of weights; or puts it in the place of the last one, which
// was a group, too.
void append_group(const PointGroup& group, bool quartic, Points& points,
                  bool replaces_last = false);

// Adds those of `from` in [begin, end), each of which is one weight.
void append_weights(const Points& from, std::size_t begin, std::size_t end, Points& points);

enum class Zero { free, pinned };

// Makes the point at zero one so important that its centroid is zero; adds it where there is none.
// A group of weights may end at zero or begin there, not reach across it.
void pin_zero(Points& points);

}  // namespace wkmeans
