#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/direct_moments.h"
#include "cpu/parallel.h"
#include "cpu/points.h"
#include "math/moments.h"

namespace wkmeans {

// Moments of aligned groups of sorted points, each about its own mean: any range is a merge of
// O(log n) of them.
template <class Moments>
class Pyramid {
public:
  static constexpr std::size_t kFanOut = 4;

  void build(const Points& points, const Parallel& parallel) {
    points_ = &points;
    leaf_ = points.size() < kMany ? kLeaf : kLargeLeaf;
    std::size_t n_levels = 0;
    for (std::size_t size = points.size() / leaf_; size > 0; size /= kFanOut) ++n_levels;
    levels_.resize(n_levels);
    std::size_t size = points.size() / leaf_;
    for (std::size_t level = 0; level < n_levels; ++level, size /= kFanOut) {
      levels_[level].resize(size);
      for_each_chunk(parallel, static_cast<std::int64_t>(size),
                     [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                       for (std::int64_t node = begin; node < end; ++node) {
                         levels_[level][static_cast<std::size_t>(node)] =
                             level == 0
                                 ? summed<Moments>(points, static_cast<std::size_t>(node) * leaf_,
                                                   (static_cast<std::size_t>(node) + 1) * leaf_)
                                 : merged_children(level - 1, static_cast<std::size_t>(node));
                       }
                     });
    }
  }

  // Moments of points [begin, end).
  Moments range(std::size_t begin, std::size_t end) const {
    std::size_t low = (begin + leaf_ - 1) / leaf_;
    std::size_t high = end / leaf_;
    if (low >= high) return summed<Moments>(*points_, begin, end);
    Moments left = summed<Moments>(*points_, begin, low * leaf_);
    Moments right = summed<Moments>(*points_, high * leaf_, end);
    for (std::size_t level = 0; low < high; ++level, low /= kFanOut, high /= kFanOut) {
      const bool top = level + 1 == levels_.size();
      while (low < high && (top || low % kFanOut != 0)) left = merge(left, levels_[level][low++]);
      while (low < high && high % kFanOut != 0) right = merge(levels_[level][--high], right);
    }
    return merge(left, right);
  }

private:
  static constexpr std::size_t kLeaf = 16;
  static constexpr std::size_t kLargeLeaf = 64;  // a range costs more, and all leaves less memory
  static constexpr std::size_t kMany = std::size_t{1} << 22;

  Moments merged_children(std::size_t level, std::size_t parent) const {
    const std::vector<Moments>& nodes = levels_[level];
    const std::size_t first = parent * kFanOut;
    return merge(merge(nodes[first], nodes[first + 1]), merge(nodes[first + 2], nodes[first + 3]));
  }

  const Points* points_ = nullptr;
  std::size_t leaf_ = kLeaf;
  std::vector<std::vector<Moments>> levels_;
};

}  // namespace wkmeans
