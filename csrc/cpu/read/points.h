#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/base/items.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/read/column.h"
#include "cpu/read/histogram.h"
#include "cpu/sort/partitions.h"
#include "cpu/sort/sort_stretch.h"
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

enum class Zero { free, pinned };

// Makes the point at zero one so important that its centroid is zero; adds it where there is none.
// A group of weights may end at zero or begin there, not reach across it.
void pin_zero(Points& points);

// What becomes of equal weights: one point; or, where there are so many points that they are kept
// as floats, as many as it takes floats to add up to their importance, two as a rule.
enum class Ties { merged, split };

// Reads, checks, sorts (or counts, where the values are few) and merges one problem after another,
// reusing its memory between them.
class PointCollector {
public:
  const Points& collect(const Problems& problems, std::int64_t problem, Zero zero,
                        const Parallel& parallel, Ties ties = Ties::merged);

  // Only some weights of a problem that has been checked: of the `count` from `begin` on those
  // whose numbers, counted from there, `select(begin, count, chosen)` writes; it returns how many.
  template <class Select>
  const Points& collect_some(const Problems& problems, std::int64_t problem, Select&& select,
                             const Parallel& parallel);

  // Whether the problem last collected carries no importance at all, so that each weight counts 1.
  bool unit_importance() const { return unit_importance_; }

private:
  // Value: float or double, as which weights are compared; Stored: the same, as which points are
  // kept.
  template <class Value, class Stored>
  struct Scratch {
    SortScratch<Value> sort;
    Buffer<Stored> importance, quartic_importance;
  };

  template <class Value, class Stored>
  bool scatter(const Problems& problems, std::int64_t problem, const Parallel& parallel);
  template <class Real, class Value, class Stored>
  bool scatter_segment(const Problems& problems, std::int64_t problem, std::int64_t segment);
  template <class Stored>
  ItemColumns<Stored> columns();
  template <class Value, class Stored>
  SortedStretch sort_partition(std::size_t partition, Scratch<Value, Stored>& scratch);
  template <class Value, class Stored>
  void sort(const Parallel& parallel);
  template <class Stored>
  void join(const std::vector<SortedStretch>& stretches);
  template <class Value, class Real>
  void collect_chunk(const Problems& problems, std::int64_t problem, ItemReader<Real>& reader);
  template <class Value, class Stored>
  void collect_as(const Problems& problems, std::int64_t problem, const Parallel& parallel);
  const Points& collect_kept(const KeptItems& kept, DType dtype, const Parallel& parallel);

  Points points_;
  Partitions partitions_;
  Histogram histogram_;
  ItemReader<float> floats_;
  ItemReader<double> doubles_;
  bool unit_importance_ = false;
  std::tuple<Scratch<float, float>, Scratch<float, double>, Scratch<double, double>> scratch_;
};

template <class Select>
const Points& PointCollector::collect_some(const Problems& problems, std::int64_t problem,
                                           Select&& select, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  std::vector<KeptItems> kept(static_cast<std::size_t>(chunk_count(n)));
  for_each_chunk(parallel, n, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    std::uint32_t chosen[kItemBlock];
    for (; begin < end; begin += kItemBlock) {
      const std::int64_t n_chosen =
          select(begin, kItemBlock < end - begin ? kItemBlock : end - begin, chosen);
      append_chosen(problems, problem, begin, chosen, n_chosen,
                    kept[static_cast<std::size_t>(chunk)]);
    }
  });
  KeptItems all;
  for (const KeptItems& found : kept) append(found, all);
  return collect_kept(all, problems.weights->dtype(), parallel);
}

}  // namespace wkmeans
