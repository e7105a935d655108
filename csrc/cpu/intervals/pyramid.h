#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/base/tuning.h"
#include "cpu/intervals/leaf_sums.h"
#include "cpu/read/points.h"
#include "math/moment_pyramid.h"
#include "math/moments.h"

namespace wkmeans {

// Moments of aligned groups of sorted points, each about its own mean: any range is a merge of
// O(log n) of them.
template <class Moments>
class Pyramid {
public:
  static constexpr std::size_t kFanOut = kPyramidFanOut;

  void build(const Points& points, const Parallel& parallel) {
    points_ = &points;
    leaf_ = points.size() < tuning::kPointsWithLargeLeaves ? tuning::kPointsOfALeaf
                                                           : tuning::kPointsOfALargeLeaf;
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
    return moments_of_range<Moments>(*this, begin, end);
  }

  std::size_t leaf() const { return leaf_; }
  std::size_t n_levels() const { return levels_.size(); }
  const Moments& node(std::size_t level, std::size_t i) const { return levels_[level][i]; }
  Moments merged_points(std::size_t begin, std::size_t count) const {
    return summed<Moments>(*points_, begin, begin + count);
  }

private:
  Moments merged_children(std::size_t level, std::size_t parent) const {
    return merged_family(levels_[level].data() + parent * kFanOut);
  }

  const Points* points_ = nullptr;
  std::size_t leaf_ = tuning::kPointsOfALeaf;
  std::vector<std::vector<Moments>> levels_;
};

}  // namespace wkmeans
