#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/items/items.h"
#include "cuda/large/sorted_weights.h"
#include "math/centroid_grid.h"
#include "math/moment_pyramid.h"
#include "math/moments.h"
#include "math/sort_key.h"

// What a device (or, in tests, the host) holds of one problem after the sort, and what each thread
// of a pass over it does.
namespace wkmeans::cuda {

// What travels with a key through the sort.
enum class Payload : std::uint8_t {
  none,        // every weight counts 1
  importance,  // a float32, where importances fit one
  item,        // the item's index, by which importances are read
};

// No finite weight has these keys: weights that carry no importance sort behind all others.
template <class Key>
constexpr Key kSunk = static_cast<Key>(~Key{0});

WKM_HD std::uint32_t key_of(double weight, std::uint32_t /*width*/) {
  return sort_key(static_cast<float>(weight));
}
WKM_HD std::uint64_t key_of(double weight, std::uint64_t /*width*/) { return sort_key(weight); }

// Makes the keys and payloads of a problem's items, and checks their values.
template <class Key>
struct LoadItem {
  ItemColumns items;
  Payload payload;
  std::uint64_t first_index;  // of the problem's items among the batch's
  Key* keys;
  std::uint32_t* payloads;
  BadItems* errors;

  WKM_HD void operator()(std::uint64_t i) const {
    const Item item = items.at(i);
    const bool sound = item.check(first_index + i, errors);
    keys[i] = sound && item.counts() ? key_of(item.weight, Key{}) : kSunk<Key>;
    if (payload == Payload::importance) {
      payloads[i] = bits_of_float(static_cast<float>(item.importance));
    } else if (payload == Payload::item) {
      payloads[i] = static_cast<std::uint32_t>(i);
    }
  }
};

// The first of sorted keys [begin, end) that is at least `key`; `end` where none is.
template <class Key>
WKM_HD std::uint64_t lower_bound(const Key* keys, std::uint64_t begin, std::uint64_t end, Key key) {
  while (begin < end) {
    const std::uint64_t middle = begin + (end - begin) / 2;
    if (keys[middle] < key) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// The sorted weights that carry importance.
template <class Key>
struct SortedView {
  const Key* keys;
  const std::uint32_t* payloads;
  Payload payload;
  ItemColumn importances, quartic_importances;

  WKM_HD double weight(std::uint64_t i) const { return value_of_key(keys[i]); }
  WKM_HD double importance(std::uint64_t i) const {
    if (payload == Payload::none) return 1.0;
    if (payload == Payload::importance) return static_cast<double>(float_from_bits(payloads[i]));
    return importances.at(payloads[i]);
  }
  WKM_HD double quartic_importance(std::uint64_t i) const {
    return payload == Payload::item ? quartic_importances.at(payloads[i]) : 0.0;
  }
};

// 1 for each item that carries no importance, to be added up.
template <class Key>
struct CountSunk {
  const Key* keys;
  WKM_HD double operator()(std::uint64_t i, const double*) const {
    return keys[i] == kSunk<Key> ? 1.0 : 0.0;
  }
};

// The weights at some ranks among the different ones, which begin at `starts`.
template <class Key>
struct TakeWeight {
  SortedView<Key> sorted;
  const std::uint32_t* starts;
  const std::uint64_t* ranks;
  double* out;
  WKM_HD void operator()(std::uint64_t i) const { out[i] = sorted.weight(starts[ranks[i]]); }
};

// A pyramid (see math/moment_pyramid.h) over sorted weights.
template <class Key, class MomentsType>
struct PyramidView {
  using Moments = MomentsType;
  static constexpr std::size_t kLeaf = 64;
  static constexpr std::size_t kMostLevels = 16;  // of 2^32 weights

  SortedView<Key> sorted;
  Moments* levels[kMostLevels];
  std::size_t level_count;

  WKM_HD static constexpr std::size_t leaf() { return kLeaf; }
  WKM_HD std::size_t n_levels() const { return level_count; }
  WKM_HD Moments node(std::size_t level, std::size_t i) const { return levels[level][i]; }
  WKM_HD Moments merged_points(std::size_t begin, std::size_t count) const {
    Moments sum{};
    WKM_DEVICE_UNROLL(1)
    for (std::size_t i = begin; i < begin + count; ++i) {
      sum = merge(
          sum, Moments::of(sorted.weight(i), sorted.importance(i), sorted.quartic_importance(i)));
    }
    return sum;
  }
};

// How many roundings lie one after another between a weight and a group's moments, at most: those
// of a merge, along a leaf and then along the groups of each level that a range is made of.
constexpr double kMomentRoundings = 12.0 * (2.0 * 64.0 + 16.0 * 8.0);

template <class Pyramid>
struct FillLeaf {
  Pyramid pyramid;
  WKM_HD void operator()(std::uint64_t leaf) const {
    pyramid.levels[0][leaf] = pyramid.merged_points(leaf * Pyramid::kLeaf, Pyramid::kLeaf);
  }
};

template <class Pyramid>
struct FillFamily {
  Pyramid pyramid;
  std::size_t level;
  WKM_HD void operator()(std::uint64_t parent) const {
    pyramid.levels[level][parent] =
        merged_family(pyramid.levels[level - 1] + parent * kPyramidFanOut);
  }
};

WKM_HD QuarticMoments as_quartic(const QuadraticMoments& m) { return {m.quadratic, {}}; }
WKM_HD QuarticMoments as_quartic(const QuarticMoments& m) { return m; }

// What the weights of a span, which are not none, are together.
template <class Pyramid>
struct DescribeGroup {
  Pyramid pyramid;
  const Range<std::uint64_t>* spans;
  WeightGroup* out;

  WKM_HD void operator()(std::uint64_t g) const {
    const Range<std::uint64_t> span = spans[g];
    out[g] = {
        span.begin, span.end,
        as_quartic(moments_of_range<typename Pyramid::Moments>(pyramid, span.begin, span.end)),
        pyramid.sorted.weight(span.begin), pyramid.sorted.weight(span.end - 1)};
  }
};

// Cuts each span into parts of about equal numbers of weights, never between equal ones. Cut
// `i` is number i % (parts - 1) of its span; cuts ascend, and may fall on an end of the span
// only where all weights before or behind it are equal.
template <class Key>
struct CutSpan {
  const Key* keys;
  const Range<std::uint64_t>* spans;
  std::uint64_t n_cuts;  // of each span
  std::uint64_t* out;

  WKM_HD void operator()(std::uint64_t i) const {
    const Range<std::uint64_t> span = spans[i / n_cuts];
    const std::uint64_t cut = i % n_cuts + 1;
    const std::uint64_t at = span.begin + (span.end - span.begin) * cut / (n_cuts + 1);
    const Key key = keys[at];
    const std::uint64_t first = lower_bound(keys, span.begin, at, key);
    out[i] =
        first > span.begin ? first : lower_bound(keys, at, span.end, static_cast<Key>(key + 1));
  }
};

// Whether item i is the first of those that have the same weight, or of those whose nearest value
// of a format is the same.
template <class Key>
struct StartsRun {
  const Key* keys;
  bool in_format;
  CentroidGrid format;

  WKM_HD bool operator()(std::uint64_t i) const {
    if (i == 0) return true;
    if (keys[i - 1] == keys[i]) return false;
    return !in_format ||
           format.nearest(value_of_key(keys[i - 1])) != format.nearest(value_of_key(keys[i]));
  }
};

// 1 for each start of a run, to be added up.
template <class Key>
struct CountRun {
  StartsRun<Key> starts_run;
  WKM_HD double operator()(std::uint64_t i, const double*) const {
    return starts_run(i) ? 1.0 : 0.0;
  }
};

// How many weights lie at or below each threshold.
template <class Key>
struct FindBoundary {
  const Key* keys;
  std::uint64_t n;
  const double* thresholds;
  std::uint64_t* out;

  WKM_HD void operator()(std::uint64_t j) const {
    std::uint64_t begin = 0;
    std::uint64_t end = n;
    while (begin < end) {
      const std::uint64_t middle = begin + (end - begin) / 2;
      if (value_of_key(keys[middle]) <= thresholds[j]) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    out[j] = begin;
  }
};

}  // namespace wkmeans::cuda
