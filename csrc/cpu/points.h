#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/buffer.h"
#include "cpu/histogram.h"
#include "cpu/operand.h"
#include "cpu/parallel.h"
#include "cpu/radix_sort.h"

namespace wkmeans {

constexpr std::size_t kNoPoint = static_cast<std::size_t>(-1);

// What a solver sees of a problem: the distinct weights that carry importance, ascending, with the
// importances of equal weights added up. Where no weight carries any, each counts 1.
struct Points {
  Buffer<double> weight;
  Buffer<double> importance;
  Buffer<double> quartic_importance;  // empty where the objective is quadratic

  std::size_t pin = kNoPoint;  // a point at zero so important that its centroid is zero

  std::size_t size() const { return weight.size(); }
  bool quartic() const { return !quartic_importance.empty(); }
};

enum class Zero { free, pinned };

// Reads, checks, sorts (or counts, where the values are few) and merges one problem after another,
// reusing its memory between them.
class PointCollector {
public:
  const Points& collect(const Problems& problems, std::int64_t problem, Zero zero,
                        const Parallel& parallel);

  // Whether the problem last collected carries no importance at all, so that each weight counts 1.
  bool unit_importance() const { return unit_importance_; }

private:
  template <class Key, class Value>
  void read(const Problems& problems, std::int64_t problem, const Parallel& parallel,
            Buffer<Keyed<Key>>& keys);
  template <class Key>
  void merge_equal(const Buffer<Keyed<Key>>& keys, const Parallel& parallel);
  void pin_zero();
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

}  // namespace wkmeans
