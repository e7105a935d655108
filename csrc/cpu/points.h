#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/histogram.h"
#include "cpu/operand.h"
#include "cpu/parallel.h"
#include "cpu/radix_sort.h"
#include "math/moments.h"

namespace wkmeans {

constexpr std::size_t kNoPoint = static_cast<std::size_t>(-1);

// What a solver sees of a problem: the distinct weights that carry importance, ascending, with the
// importances of equal weights added up. Where no weight carries any, each counts 1.
struct Points {
  Buffer<double> weight;
  Buffer<double> importance;
  Buffer<double> quartic_importance;  // empty where the objective is quadratic

  std::size_t pin = kNoPoint;  // a point at zero so important that its centroid is zero

  // Points that stand for several weights (buckets): their moments, and the least and the largest
  // weight they may hold. `weight` is then their mean. Empty where every point is one weight.
  Buffer<QuarticMoments> groups;
  Buffer<double> lows, highs;
  std::vector<bool> divisible;  // a boundary of the optimum may lie inside the group

  std::size_t size() const { return weight.size(); }
  double low(std::size_t i) const { return lows.empty() ? weight[i] : lows[i]; }
  double high(std::size_t i) const { return highs.empty() ? weight[i] : highs[i]; }
  bool is_divisible(std::size_t i) const { return !divisible.empty() && divisible[i]; }
  bool quartic() const { return !quartic_importance.empty(); }
};

// Adds a point that stands for a group of weights; or puts it in the place of the last one.
void append_group(const QuarticMoments& moments, double low, double high, bool divisible,
                  bool quartic, Points& points, bool replaces_last = false);

enum class Zero { free, pinned };

// Makes the point at zero one so important that its centroid is zero; adds it where there is none.
// A group of weights may end at zero or begin there, not reach across it.
void pin_zero(Points& points);

// Reads, checks, sorts (or counts, where the values are few) and merges one problem after another,
// reusing its memory between them.
class PointCollector {
public:
  const Points& collect(const Problems& problems, std::int64_t problem, Zero zero,
                        const Parallel& parallel);

  // Only the weights for which `wanted(weight)`, of a problem that has been checked.
  template <class Wanted>
  const Points& collect_some(const Problems& problems, std::int64_t problem, Wanted&& wanted,
                             const Parallel& parallel);

  // Whether the problem last collected carries no importance at all, so that each weight counts 1.
  bool unit_importance() const { return unit_importance_; }

private:
  template <class Key, class Value>
  void read(const Problems& problems, std::int64_t problem, const Parallel& parallel,
            Buffer<Keyed<Key>>& keys);
  template <class Key>
  void merge_equal(const Buffer<Keyed<Key>>& keys, const Parallel& parallel);
  template <class Key, class Value>
  void collect_as(const Problems& problems, std::int64_t problem, const Parallel& parallel,
                  Buffer<Keyed<Key>>& keys, Buffer<Keyed<Key>>& spare);

  Points points_;
  Histogram histogram_;
  bool unit_importance_ = false;
  Buffer<double> importance_;
  Buffer<double> quartic_importance_;
  Buffer<Keyed<std::uint32_t>> narrow_, narrow_spare_;
  Buffer<Keyed<std::uint64_t>> wide_, wide_spare_;
};

template <class Wanted>
const Points& PointCollector::collect_some(const Problems& problems, std::int64_t problem,
                                           Wanted&& wanted, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  const auto n_chunks = static_cast<std::size_t>(chunk_count(n));
  std::vector<ItemBuffer> kept(n_chunks);
  parallel.run_with_workers(chunk_count(n), [&] {
    return [&, items = ItemBuffer{}](std::int64_t chunk) mutable {
      const std::int64_t begin = chunk * kChunk;
      const auto count = static_cast<std::size_t>(kChunk < n - begin ? kChunk : n - begin);
      load_items(problems, problem, begin, static_cast<std::int64_t>(count), items);
      ItemBuffer& found = kept[static_cast<std::size_t>(chunk)];
      for (std::size_t i = 0; i < count; ++i) {
        if (!wanted(items.weight[i])) continue;
        found.weight.push_back(items.weight[i]);
        found.importance.push_back(items.importance[i]);
        if (problems.quartic()) found.quartic_importance.push_back(items.quartic_importance[i]);
      }
    };
  });
  importance_.clear();
  quartic_importance_.clear();
  wide_.clear();
  for (const ItemBuffer& found : kept) {
    for (const double weight : found.weight)
      wide_.push_back({sort_key(weight), static_cast<std::uint32_t>(wide_.size())});
    importance_.insert(importance_.end(), found.importance.begin(), found.importance.end());
    quartic_importance_.insert(quartic_importance_.end(), found.quartic_importance.begin(),
                               found.quartic_importance.end());
  }
  unit_importance_ = false;
  if (!wide_.empty()) radix_sort(wide_, wide_spare_, parallel);
  merge_equal(wide_, parallel);
  points_.pin = kNoPoint;
  return points_;
}

}  // namespace wkmeans
