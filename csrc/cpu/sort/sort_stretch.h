#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cpu/base/buffer.h"
#include "cpu/sort/radix_sort.h"
#include "math/sort_key.h"

namespace wkmeans {

// Columns of weights and importances; `quartic_importance` is null where the objective is
// quadratic.
template <class Real>
struct ItemColumns {
  Real *weight, *importance, *quartic_importance;
};

// A stretch of the weights' order, and its points, written where it begins.
struct SortedStretch {
  std::size_t begin, end_of_points;
  std::size_t n_distinct, most_merged;
};

// What sorting a stretch takes. Value: float or double, as which weights are compared.
template <class Value>
struct SortScratch {
  using Key = decltype(sort_key(Value{}));
  Buffer<Keyed<Key>> keys, spare;
};

inline void sort_keys(Buffer<Keyed<std::uint32_t>>& keys, Buffer<Keyed<std::uint32_t>>& spare) {
  if (keys.size() <= kMostFew) {
    sort_few(keys, spare);
  } else {
    radix_sort(keys, spare);
  }
}

inline void sort_keys(Buffer<Keyed<std::uint64_t>>& keys, Buffer<Keyed<std::uint64_t>>& spare) {
  radix_sort(keys, spare);
}

// Writes the points of one weight: a double takes any sum of importances.
inline std::size_t append_point(double weight, double importance, double quartic_importance,
                                const ItemColumns<double>& points, std::size_t at) {
  points.weight[at] = weight;
  points.importance[at] = importance;
  if (points.quartic_importance) points.quartic_importance[at] = quartic_importance;
  return at + 1;
}

// The largest float that is no larger.
inline float truncated(double value) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (value >= static_cast<double>(kLargest)) return kLargest;
  const auto rounded = static_cast<float>(value);
  return static_cast<double>(rounded) > value ? std::nextafter(rounded, 0.0f) : rounded;
}

// Two floats hold all but 2^-48 of a sum. What they leave out makes no bound too high. Sums beyond
// the largest float take no more points than they have terms.
inline std::size_t append_point(double weight, double importance, double quartic_importance,
                                const ItemColumns<float>& points, std::size_t at) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  for (int digits = 0; digits < 2 && (importance > 0.0 || quartic_importance > 0.0);) {
    if (importance <= kLargest && quartic_importance <= kLargest) ++digits;
    points.weight[at] = static_cast<float>(weight);
    points.importance[at] = truncated(importance);
    importance -= static_cast<double>(points.importance[at]);
    if (points.quartic_importance) {
      points.quartic_importance[at] = truncated(quartic_importance);
      quartic_importance -= static_cast<double>(points.quartic_importance[at]);
    }
    ++at;
  }
  return at;
}

// Sorts `size` items and merges those of equal weight into points from `begin` on. The weights may
// lie where the points go.
template <class Value, class Real, class Stored>
SortedStretch sort_stretch(const ItemColumns<const Real>& items, std::size_t size,
                           const ItemColumns<Stored>& points, std::size_t begin,
                           SortScratch<Value>& scratch) {
  auto& keys = scratch.keys;
  keys.resize(size);
  for (std::size_t i = 0; i < size; ++i) {
    keys[i] = {sort_key(static_cast<Value>(items.weight[i])), static_cast<std::uint32_t>(i)};
  }
  sort_keys(keys, scratch.spare);

  const auto* const sorted = keys.data();
  const ItemColumns<const Real> from = items;
  std::size_t at = begin;
  std::size_t n_distinct = 0;
  std::size_t most_merged = 1;
  for (std::size_t i = 0; i < size;) {
    const std::size_t first = i;
    const auto key = sorted[i].key;
    double importance = 0.0;
    double quartic_importance = 0.0;
    for (; i < size && sorted[i].key == key; ++i) {
      const std::size_t item = sorted[i].item;
      importance += static_cast<double>(from.importance[item]);
      if (from.quartic_importance)
        quartic_importance += static_cast<double>(from.quartic_importance[item]);
    }
    if (!(importance > 0.0) && !(quartic_importance > 0.0)) continue;
    at = append_point(value_of_key(key), importance, quartic_importance, points, at);
    ++n_distinct;
    most_merged = std::max(most_merged, i - first);
  }
  return {begin, at, n_distinct, most_merged};
}

}  // namespace wkmeans
