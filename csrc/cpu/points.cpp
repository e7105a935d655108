#include "cpu/points.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

namespace wkmeans {
namespace {

struct Span {
  std::size_t begin, end;
};

// Moves the spans, which ascend, to the front one behind another.
void close_gaps(const std::vector<Span>& spans, Buffer<double>& values) {
  auto to = values.begin();
  for (const Span& span : spans) {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(span.begin);
    const auto end = values.begin() + static_cast<std::ptrdiff_t>(span.end);
    to = to == from ? end : std::copy(from, end, to);
  }
  values.resize(static_cast<std::size_t>(to - values.begin()));
}

// A point at zero without importance.
void insert_zero(std::ptrdiff_t index, Points& points) {
  points.weight.insert(points.weight.begin() + index, 0.0);
  points.importance.insert(points.importance.begin() + index, 0.0);
  if (!points.quartic_importance.empty())
    points.quartic_importance.insert(points.quartic_importance.begin() + index, 0.0);
  if (points.groups.empty()) return;
  points.groups.insert(points.groups.begin() + index, QuarticMoments{});
  points.lows.insert(points.lows.begin() + index, 0.0);
  points.highs.insert(points.highs.begin() + index, 0.0);
  points.divisible.insert(points.divisible.begin() + index, false);
}

}  // namespace

template <class Key, class Value>
void PointCollector::read(const Problems& problems, std::int64_t problem, const Parallel& parallel,
                          Buffer<Keyed<Key>>& keys) {
  const std::int64_t n = problems.weights->n_items();
  const auto size = static_cast<std::size_t>(n);
  keys.resize(size);
  importance_.resize(size);
  quartic_importance_.resize(problems.quartic() ? size : 0);
  std::atomic<bool> any_importance{false};
  parallel.run_with_workers(chunk_count(n), [&] {
    return [&, items = ItemBuffer{}](std::int64_t chunk) mutable {
      const std::int64_t begin = chunk * kChunk;
      const std::int64_t count = std::min(kChunk, n - begin);
      load_items(problems, problem, begin, count, items);
      check_items(problems, items);
      for (std::int64_t i = 0; i < count; ++i) {
        const Value weight = static_cast<Value>(items.weight[static_cast<std::size_t>(i)]);
        keys[static_cast<std::size_t>(begin + i)] = {sort_key(weight),
                                                     static_cast<std::uint32_t>(begin + i)};
      }
      std::copy(items.importance.begin(), items.importance.end(), importance_.begin() + begin);
      std::copy(items.quartic_importance.begin(), items.quartic_importance.end(),
                quartic_importance_.begin() + (problems.quartic() ? begin : 0));
      const auto positive = [](double value) { return value > 0.0; };
      if (std::any_of(items.importance.begin(), items.importance.end(), positive) ||
          std::any_of(items.quartic_importance.begin(), items.quartic_importance.end(), positive)) {
        any_importance.store(true, std::memory_order_relaxed);
      }
    };
  });
  unit_importance_ = !any_importance.load();
  if (unit_importance_) std::fill(importance_.begin(), importance_.end(), 1.0);
}

template <class Key>
void PointCollector::merge_equal(const Buffer<Keyed<Key>>& keys, const Parallel& parallel) {
  const auto n = static_cast<std::int64_t>(keys.size());
  const bool quartic = !quartic_importance_.empty();
  const auto key_at = [&](std::int64_t i) { return keys[static_cast<std::size_t>(i)].key; };
  // A segment owns the runs of equal keys that start in it.
  const auto first_run = [&](std::int64_t i) {
    if (i >= n) return n;
    while (i > 0 && i < n && key_at(i) == key_at(i - 1)) ++i;
    return i;
  };
  // Appends the runs of a segment that carry importance, each as one point, and returns where they
  // end.
  const auto append_runs = [&](std::int64_t segment, std::size_t at) {
    const std::int64_t end = first_run(std::min(n, (segment + 1) * kChunk));
    for (std::int64_t i = first_run(segment * kChunk); i < end;) {
      const Key key = key_at(i);
      double importance = 0.0;
      double quartic_importance = 0.0;
      for (; i < n && key_at(i) == key; ++i) {
        const std::size_t item = keys[static_cast<std::size_t>(i)].item;
        importance += importance_[item];
        if (quartic) quartic_importance += quartic_importance_[item];
      }
      if (!(importance > 0.0) && !(quartic_importance > 0.0)) continue;
      points_.weight[at] = value_of_key(key);
      points_.importance[at] = importance;
      if (quartic) points_.quartic_importance[at] = quartic_importance;
      ++at;
    }
    return at;
  };

  // Each segment writes where its first run starts; the gaps that ties leave are closed afterwards.
  const auto size = static_cast<std::size_t>(n);
  points_.weight.resize(size);
  points_.importance.resize(size);
  points_.quartic_importance.resize(quartic ? size : 0);
  const std::int64_t n_segments = chunk_count(n);
  std::vector<Span> spans(static_cast<std::size_t>(n_segments));
  parallel.run(n_segments, [&](std::int64_t segment) {
    const auto begin = static_cast<std::size_t>(first_run(segment * kChunk));
    spans[static_cast<std::size_t>(segment)] = {begin, append_runs(segment, begin)};
  });
  close_gaps(spans, points_.weight);
  close_gaps(spans, points_.importance);
  if (quartic) close_gaps(spans, points_.quartic_importance);
}

// A centroid fixed at zero is the limit of a point at zero whose importance outweighs all others:
// so many decades above them, its centroid moves off zero by less than any digit shows.
void pin_zero(Points& points) {
  constexpr double kDecades = 1e60;
  double mass = 0.0;
  const std::size_t last = points.size() - 1;
  const double widest = std::max(std::fabs(points.low(0)), std::fabs(points.high(last)));
  for (std::size_t i = 0; i < points.size(); ++i) {
    mass += points.importance[i];
    if (points.quartic()) mass += points.quartic_importance[i] * (widest * widest);
  }
  const auto at = std::lower_bound(points.weight.begin(), points.weight.end(), 0.0);
  const auto index = at - points.weight.begin();
  if (at == points.weight.end() || *at != 0.0) insert_zero(index, points);
  points.pin = static_cast<std::size_t>(index);
  points.importance[points.pin] += kDecades * mass;
  if (!points.groups.empty()) points.groups[points.pin].quadratic.mass += kDecades * mass;
}

template <class Key, class Value>
void PointCollector::collect_as(const Problems& problems, std::int64_t problem,
                                const Parallel& parallel, Buffer<Keyed<Key>>& keys,
                                Buffer<Keyed<Key>>& spare) {
  read<Key, Value>(problems, problem, parallel, keys);
  radix_sort(keys, spare, parallel);
  merge_equal(keys, parallel);
}

const Points& PointCollector::collect(const Problems& problems, std::int64_t problem, Zero zero,
                                      const Parallel& parallel) {
  if (problems.weights->n_items() > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("weights: expected at most 4294967295 in one problem, got " +
                            std::to_string(problems.weights->n_items()));
  }
  if (fills_histogram(problems)) {
    histogram_.collect(problems, problem, parallel, points_);
    unit_importance_ = histogram_.unit_importance();
  } else if (problems.weights->dtype() == DType::float64) {
    collect_as<std::uint64_t, double>(problems, problem, parallel, wide_, wide_spare_);
  } else {
    collect_as<std::uint32_t, float>(problems, problem, parallel, narrow_, narrow_spare_);
  }
  points_.pin = kNoPoint;
  if (zero == Zero::pinned) pin_zero(points_);
  return points_;
}

void append_group(const QuarticMoments& moments, double low, double high, bool divisible,
                  bool quartic, Points& points, bool replaces_last) {
  if (replaces_last) {
    points.weight.pop_back();
    points.importance.pop_back();
    if (quartic) points.quartic_importance.pop_back();
    points.groups.pop_back();
    points.lows.pop_back();
    points.highs.pop_back();
    points.divisible.pop_back();
  }
  const SecondMoments& i = moments.quadratic;
  const FourthMoments& h = moments.quartic;
  const double mean = i.mass > 0.0 ? i.origin + i.offset : h.origin + h.offset;
  points.weight.push_back(mean < low ? low : (mean > high ? high : mean));
  points.importance.push_back(i.mass);
  if (quartic) points.quartic_importance.push_back(h.mass);
  points.groups.push_back(moments);
  points.lows.push_back(low);
  points.highs.push_back(high);
  points.divisible.push_back(divisible);
}

template void PointCollector::merge_equal(const Buffer<Keyed<std::uint64_t>>&, const Parallel&);

}  // namespace wkmeans
