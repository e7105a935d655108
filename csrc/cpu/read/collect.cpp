#include "cpu/read/collect.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>

#include "cpu/base/tuning.h"

namespace wkmeans {
namespace {

// Moves the points of each stretch to the front, one behind another.
template <class Stored>
void close_gaps(const std::vector<SortedStretch>& stretches, Buffer<Stored>& values) {
  auto to = values.begin();
  for (const SortedStretch& stretch : stretches) {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(stretch.begin);
    const auto end = values.begin() + static_cast<std::ptrdiff_t>(stretch.end_of_points);
    to = to == from ? end : std::copy(from, end, to);
  }
  values.resize(static_cast<std::size_t>(to - values.begin()));
}

// Adds up the values of neighbouring points of equal weight.
Buffer<double> merged(const Column& values, const Column& weight, std::size_t n_distinct) {
  Buffer<double> sums;
  sums.reserve(n_distinct);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0 && weight[i] == weight[i - 1]) {
      sums.back() += values[i];
    } else {
      sums.push_back(values[i]);
    }
  }
  return sums;
}

// Makes doubles of floats, a column at a time: both kinds of all would not fit where one does.
void widen(std::size_t n_distinct, Points& points) {
  for (Column* column : {&points.importance, &points.quartic_importance}) {
    if (!column->empty()) column->as<double>() = merged(*column, points.weight, n_distinct);
  }
  Buffer<double> distinct;
  distinct.reserve(n_distinct);
  for (const double weight : points.weight) {
    if (distinct.empty() || distinct.back() != weight) distinct.push_back(weight);
  }
  points.weight.as<double>() = std::move(distinct);
}

template <class Real>
bool any_importance(const ItemRun<Real>& items) {
  const auto any_in = [&](const Real* values) {
    return values && std::any_of(values, values + items.count, [](Real v) { return v > Real{0}; });
  };
  return any_in(items.importance) || any_in(items.quartic_importance);
}

}  // namespace

// Moves the items to the stretches that they belong to. Returns whether any carries importance.
template <class Value, class Stored>
bool PointCollector::scatter(const Problems& problems, std::int64_t problem,
                             const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  const auto size = static_cast<std::size_t>(n);
  partitions_.plan<Value>(problems, problem, parallel);
  Buffer<Stored>& weight = points_.weight.as<Stored>();
  Buffer<Stored>& importance = points_.importance.as<Stored>();
  Buffer<Stored>& quartic_importance = points_.quartic_importance.as<Stored>();
  weight.resize(size);
  importance.resize(size);
  quartic_importance.resize(problems.quartic() ? size : 0);
  std::atomic<bool> any{false};
  parallel.run(partitions_.n_segments(), [&](std::int64_t segment) {
    with_real(problems, [&](auto real) {
      if (scatter_segment<decltype(real), Value, Stored>(problems, problem, segment))
        any.store(true, std::memory_order_relaxed);
    });
  });
  return any.load();
}

// Whether any of the items carries importance.
template <class Real, class Value, class Stored>
bool PointCollector::scatter_segment(const Problems& problems, std::int64_t problem,
                                     std::int64_t segment) {
  const ItemColumns<Stored> points = columns<Stored>();
  const std::int64_t end =
      std::min(problems.weights->n_items(), kChunk * partitions_.first_chunk(segment + 1));
  ItemReader<Real> reader;
  bool any = false;
  for (std::int64_t begin = kChunk * partitions_.first_chunk(segment); begin < end;
       begin += kItemBlock) {
    const ItemRun<Real> items =
        reader.read(problems, problem, begin, std::min(kItemBlock, end - begin));
    check_items(problems, items);
    for (std::int64_t i = 0; i < items.count; ++i) {
      const auto value = static_cast<Value>(items.weight[i]);
      const std::size_t at = partitions_.place(segment, sort_key(value));
      points.weight[at] = static_cast<Stored>(value);
      points.importance[at] = static_cast<Stored>(items.importance[i]);
      any |= items.importance[i] > Real{0};
      if (!items.quartic_importance) continue;
      points.quartic_importance[at] = static_cast<Stored>(items.quartic_importance[i]);
      any |= items.quartic_importance[i] > Real{0};
    }
  }
  return any;
}

template <class Stored>
ItemColumns<Stored> PointCollector::columns() {
  return {points_.weight.as<Stored>().data(), points_.importance.as<Stored>().data(),
          points_.quartic() ? points_.quartic_importance.as<Stored>().data() : nullptr};
}

template <class Value, class Stored>
SortedStretch PointCollector::sort_partition(std::size_t partition,
                                             Scratch<Value, Stored>& scratch) {
  const std::size_t begin = partitions_.begin(partition);
  const std::size_t size = partitions_.end(partition) - begin;
  const ItemColumns<Stored> points = columns<Stored>();
  const auto copy = [&](const Stored* values, Buffer<Stored>& out) -> const Stored* {
    if (values == nullptr) return nullptr;
    out.assign(values + begin, values + begin + size);
    return out.data();
  };
  const ItemColumns<const Stored> items{
      points.weight + begin, copy(points.importance, scratch.importance),
      copy(points.quartic_importance, scratch.quartic_importance)};
  return sort_stretch<Value>(items, size, points, begin, scratch.sort);
}

template <class Value, class Stored>
void PointCollector::sort(const Parallel& parallel) {
  using OwnScratch = Scratch<Value, Stored>;
  std::vector<SortedStretch> stretches(partitions_.size());
  const auto sort_one = [&](std::size_t partition, OwnScratch& scratch) {
    stretches[partition] = sort_partition<Value, Stored>(partition, scratch);
  };
  if (stretches.size() == 1) {
    sort_one(0, std::get<OwnScratch>(scratch_));
  } else {
    parallel.run_with_workers(static_cast<std::int64_t>(stretches.size()), [&] {
      return [&, scratch = OwnScratch{}](std::int64_t partition) mutable {
        sort_one(static_cast<std::size_t>(partition), scratch);
      };
    });
  }
  join<Stored>(stretches);
}

// Moves the points of the stretches together.
template <class Stored>
void PointCollector::join(const std::vector<SortedStretch>& stretches) {
  close_gaps(stretches, points_.weight.as<Stored>());
  close_gaps(stretches, points_.importance.as<Stored>());
  if (points_.quartic()) close_gaps(stretches, points_.quartic_importance.as<Stored>());
  std::size_t n_distinct = 0;
  points_.most_merged = 1;
  for (const SortedStretch& stretch : stretches) {
    n_distinct += stretch.n_distinct;
    points_.most_merged = std::max(points_.most_merged, stretch.most_merged);
  }
  // Doubles of the distinct weights take no more room than floats of all.
  if (points_.weight.is_narrow() && 2 * n_distinct <= partitions_.end(partitions_.size() - 1))
    widen(n_distinct, points_);
}

template <class Value, class Stored>
void PointCollector::collect_as(const Problems& problems, std::int64_t problem,
                                const Parallel& parallel) {
  unit_importance_ = !scatter<Value, Stored>(problems, problem, parallel);
  if (unit_importance_) {
    auto& importance = points_.importance.as<Stored>();
    std::fill(importance.begin(), importance.end(), Stored{1});
  }
  sort<Value, Stored>(parallel);
}

// The items of one chunk, sorted from where they are read.
template <class Value, class Real>
void PointCollector::collect_chunk(const Problems& problems, std::int64_t problem,
                                   ItemReader<Real>& reader) {
  const std::int64_t n = problems.weights->n_items();
  const auto size = static_cast<std::size_t>(n);
  const ItemRun<Real> items = reader.read(problems, problem, 0, n);
  check_items(problems, items);
  unit_importance_ = !any_importance(items);
  const std::vector<Real> ones(unit_importance_ ? size : 0, Real{1});
  points_.weight.as<double>().resize(size);
  points_.importance.as<double>().resize(size);
  points_.quartic_importance.as<double>().resize(problems.quartic() ? size : 0);
  const ItemColumns<const Real> unsorted{
      items.weight, unit_importance_ ? ones.data() : items.importance, items.quartic_importance};
  auto& scratch = std::get<Scratch<Value, double>>(scratch_).sort;
  join<double>({sort_stretch<Value>(unsorted, size, columns<double>(), 0, scratch)});
}

void PointCollector::collect_sorted(const Problems& problems, std::int64_t problem, Zero zero,
                                    const Parallel& parallel, Ties ties) {
  const std::int64_t n = problems.weights->n_items();
  const bool floats = problems.weights->dtype() != DType::float64;
  if (n <= kChunk) {
    if (!floats) {
      collect_chunk<double>(problems, problem, doubles_);
    } else if (are_floats(problems)) {
      collect_chunk<float>(problems, problem, floats_);
    } else {
      collect_chunk<float>(problems, problem, doubles_);
    }
  } else if (!floats) {
    collect_as<double, double>(problems, problem, parallel);
  } else if (n >= tuning::kItemsKeptAsFloats && ties == Ties::split && zero == Zero::free &&
             are_floats(problems)) {
    collect_as<float, float>(problems, problem, parallel);
  } else {
    collect_as<float, double>(problems, problem, parallel);
  }
}

const Points& PointCollector::collect(const Problems& problems, std::int64_t problem,
                                      Reading reading, Zero zero, const Parallel& parallel,
                                      Ties ties) {
  const std::int64_t n = problems.weights->n_items();
  if (n > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("weights: expected at most 4294967295 in one problem, got " +
                            std::to_string(n));
  }
  if (reading == Reading::counted) {
    histogram_.collect(problems, problem, parallel, points_);
    unit_importance_ = histogram_.unit_importance();
  } else {
    collect_sorted(problems, problem, zero, parallel, ties);
  }
  points_.pin = kNoPoint;
  if (zero == Zero::pinned) pin_zero(points_);
  return points_;
}

const Points& PointCollector::collect_kept(const KeptItems& kept, DType dtype,
                                           const Parallel& parallel) {
  const Operand weights = Operand::of("weights", kept.weight);
  const Operand importance = Operand::of("importance", kept.importance);
  const Operand quartic_importance = Operand::of("quartic_importance", kept.quartic_importance);
  const Problems problems{&weights, &importance,
                          kept.quartic_importance.empty() ? nullptr : &quartic_importance};
  if (dtype == DType::float64) {
    scatter<double, double>(problems, 0, parallel);
    sort<double, double>(parallel);
  } else {
    scatter<float, double>(problems, 0, parallel);
    sort<float, double>(parallel);
  }
  unit_importance_ = false;
  points_.pin = kNoPoint;
  return points_;
}

}  // namespace wkmeans
