#pragma once

#include <cstddef>

#include "math/moments.h"
#include "math/platform.h"

namespace wkmeans {

// Moments of aligned groups of sorted points, `leaf()` of them at the lowest level and
// kPyramidFanOut groups at every further one: any range is a merge of O(log n) of them.
constexpr std::size_t kPyramidFanOut = 4;

template <class Moments>
WKM_HD Moments merged_family(const Moments* children) {
  return merge(merge(children[0], children[1]), merge(children[2], children[3]));
}

// Moments of points [begin, end) from a pyramid's own groups: `leaf()`, `n_levels()`, `node(level,
// i)`, and `merged_points(begin, count)` for the points that no group of the range holds.
template <class Moments, class Pyramid>
WKM_HD Moments moments_of_range(const Pyramid& pyramid, std::size_t begin, std::size_t end) {
  const std::size_t leaf = pyramid.leaf();
  std::size_t low = (begin + leaf - 1) / leaf;
  std::size_t high = end / leaf;
  if (low >= high) return pyramid.merged_points(begin, end - begin);
  Moments left = pyramid.merged_points(begin, low * leaf - begin);
  Moments right = pyramid.merged_points(high * leaf, end - high * leaf);
  const std::size_t n_levels = pyramid.n_levels();
  for (std::size_t level = 0; low < high; ++level, low /= kPyramidFanOut, high /= kPyramidFanOut) {
    const bool top = level + 1 == n_levels;
    while (low < high && (top || low % kPyramidFanOut != 0))
      left = merge(left, pyramid.node(level, low++));
    while (low < high && high % kPyramidFanOut != 0)
      right = merge(pyramid.node(level, --high), right);
  }
  return merge(left, right);
}

}  // namespace wkmeans
