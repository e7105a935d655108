#include "cpu/read/buckets.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "cpu/base/isa.h"
#include "cpu/read/points.h"
#include "math/power_sums.h"

namespace wkmeans {
namespace {

constexpr std::uint32_t kNowhere = 0xffffffffu;

// Sums of powers of the distance to a bucket's middle, in fields that are added as one.
struct QuadraticBucket {
  static constexpr bool kQuartic = false;
  double fields[4];  // count, I times powers 0 to 2

  WKM_ALWAYS_INLINE void add(double distance, double importance, double /*quartic_importance*/) {
    const double first = importance * distance;
    const double terms[4] = {1.0, importance, first, first * distance};
    for (int f = 0; f < 4; ++f) fields[f] += terms[f];
  }
  bool empty() const { return fields[1] == 0.0; }
};

struct QuarticBucket {
  static constexpr bool kQuartic = true;
  double fields[9];  // count, I times powers 0 to 2, H times powers 0 to 4

  WKM_ALWAYS_INLINE void add(double distance, double importance, double quartic_importance) {
    const double first = importance * distance;
    const double square = distance * distance;
    const double quartic_first = quartic_importance * distance;
    const double quartic_second = quartic_importance * square;
    const double terms[9] = {1.0,
                             importance,
                             first,
                             first * distance,
                             quartic_importance,
                             quartic_first,
                             quartic_second,
                             quartic_first * square,
                             quartic_second * square};
    for (int f = 0; f < 9; ++f) fields[f] += terms[f];
  }
  bool empty() const { return fields[1] == 0.0 && fields[4] == 0.0; }
};

template <class Sums>
void add(const Sums& part, Sums& total) {
  for (std::size_t f = 0; f < std::size(total.fields); ++f) total.fields[f] += part.fields[f];
}

QuarticMoments moments_of(const QuadraticBucket& sums, double middle) {
  return {second_moments(sums.fields + 1, middle), {}};
}
QuarticMoments moments_of(const QuarticBucket& sums, double middle) {
  FourthMoments h = fourth_moments(sums.fields + 4, middle);
  const double most = std::sqrt(h.second) * std::sqrt(h.fourth);  // Cauchy-Schwarz
  h.third = std::clamp(h.third, -most, most);
  return {second_moments(sums.fields + 1, middle), h};
}

template <class Sums>
struct AddToBuckets {
  template <class Real>
  static WKM_ALWAYS_INLINE void run(const BucketMap::Bucket* buckets, ItemRun<Real> items,
                                    const double* middles, Sums* sums) {
    for (std::int64_t i = 0; i < items.count; ++i) {
      const std::size_t bucket = buckets[i];
      const double quartic_importance =
          Sums::kQuartic ? static_cast<double>(items.quartic_importance[i]) : 0.0;
      sums[bucket].add(static_cast<double>(items.weight[i]) - middles[bucket],
                       static_cast<double>(items.importance[i]), quartic_importance);
    }
  }
};

struct SelectOpen {
  static WKM_ALWAYS_INLINE std::int64_t run(const BucketMap::Bucket* buckets, std::int64_t count,
                                            const std::uint8_t* is_open, std::uint32_t* chosen) {
    std::int64_t n_chosen = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      chosen[n_chosen] = static_cast<std::uint32_t>(i);
      n_chosen += is_open[buckets[i]];
    }
    return n_chosen;
  }
};

// Into how many parts items are summed, whatever the number of threads: enough to share out, where
// every part has many more items than sums.
std::int64_t part_count(std::int64_t n_items) {
  constexpr std::int64_t kMostParts = 8;
  constexpr std::int64_t kFewestItems = std::int64_t{1} << 15;
  std::int64_t n_parts = 1;
  while (n_parts < kMostParts && 2 * n_parts * kFewestItems <= n_items) n_parts *= 2;
  return n_parts;
}

}  // namespace

// Adds up the items by bucket: in parts of their own, which are added in order, so that the sums do
// not depend on the number of threads.
template <class Sums>
std::vector<Sums> BucketedPoints::sum(const std::vector<double>& middles) {
  const std::int64_t n = problems_.weights->n_items();
  const std::int64_t n_parts = part_count(n);
  bucket_of_items_.resize(static_cast<std::size_t>(n));
  std::vector<std::vector<Sums>> parts(static_cast<std::size_t>(n_parts));
  parallel_.run(n_parts, [&](std::int64_t part) {
    std::vector<Sums>& sums = parts[static_cast<std::size_t>(part)];
    sums.assign(map_.size(), Sums{});
    with_real(problems_, [&](auto real) {
      add_items<decltype(real)>(n * part / n_parts, n * (part + 1) / n_parts, middles, sums);
    });
  });
  std::vector<Sums> total = std::move(parts.front());
  for (std::size_t part = 1; part < parts.size(); ++part) {
    for (std::size_t bucket = 0; bucket < total.size(); ++bucket)
      add(parts[part][bucket], total[bucket]);
  }
  return total;
}

template <class Real, class Sums>
void BucketedPoints::add_items(std::int64_t begin, std::int64_t end,
                               const std::vector<double>& middles, std::vector<Sums>& sums) {
  ItemReader<Real> reader;
  for (; begin < end; begin += kItemBlock) {
    const std::int64_t count = std::min(kItemBlock, end - begin);
    const ItemRun<Real> items = reader.read(problems_, problem_, begin, count);
    check_items(problems_, items);
    BucketMap::Bucket* buckets = bucket_of_items_.data() + begin;
    map_.find(items.weight, count, buckets);
    dispatch<AddToBuckets<Sums>>(static_cast<const BucketMap::Bucket*>(buckets), items,
                                 middles.data(), sums.data());
  }
}

BucketedPoints::BucketedPoints(const Problems& problems, std::int64_t problem,
                               std::size_t n_buckets, const Parallel& parallel)
    : problems_(problems),
      problem_(problem),
      parallel_(parallel),
      map_(problems, problem, n_buckets) {
  const std::vector<BucketMap::Bounds> ranges = map_.bounds();
  std::vector<double> middles(ranges.size());
  for (std::size_t b = 0; b < ranges.size(); ++b)
    middles[b] = ranges[b].low + 0.5 * (ranges[b].high - ranges[b].low);
  point_of_bucket_.assign(ranges.size(), kNowhere);
  const auto make_points = [&](const auto& sums) {
    for (std::size_t b = 0; b < ranges.size(); ++b) {
      if (sums[b].empty()) continue;
      point_of_bucket_[b] = static_cast<std::uint32_t>(points_.size());
      const QuarticMoments moments = moments_of(sums[b], middles[b]);
      append_group({moments, ranges[b].low, ranges[b].high, ranges[b].low < ranges[b].high},
                   problems.quartic(), points_);
      const double square = (ranges[b].high - ranges[b].low) * (ranges[b].high - ranges[b].low);
      rounding_.add(sums[b].fields[0], moments.quadratic.mass * square,
                    moments.quartic.mass * (square * square));
    }
  };
  if (problems.quartic()) {
    make_points(sum<QuarticBucket>(middles));
  } else {
    make_points(sum<QuadraticBucket>(middles));
  }
}

// Sums of n terms are off by n ulps of their absolute sum at most: a bucket's second moment by that
// share of mass * width^2, its mean of the width. A mean that is off costs in proportion to its
// distance from the centroid, and those distances are bounded by the cost itself (Cauchy-Schwarz;
// Hoelder for the fourth powers).
double BucketRounding::bound(double cost) const {
  constexpr double kOperations = 16.0;  // on a term before it is added, and on the sums
  constexpr double kUnit = 0.5 * std::numeric_limits<double>::epsilon();
  const double of_means = 2.0 * std::sqrt(cost) * std::sqrt(squares_of_means_) +
                          4.0 * std::pow(cost, 0.75) * std::pow(fourth_powers_of_means_, 0.25);
  return kOperations * kUnit * (of_moments_ + of_means);
}

void BucketRounding::add(double count, double square, double fourth_power) {
  of_moments_ += count * (square + fourth_power);
  squares_of_means_ += (count * count) * square;
  fourth_powers_of_means_ += (count * count) * (count * count) * fourth_power;
}

Points BucketedPoints::opened(const std::vector<bool>& alive, const std::vector<bool>& open,
                              PointCollector& collector) const {
  std::vector<std::uint8_t> is_open(map_.size(), 0);
  for (std::size_t b = 0; b < map_.size(); ++b)
    is_open[b] = point_of_bucket_[b] != kNowhere && open[point_of_bucket_[b]];
  const auto select = [&](std::int64_t begin, std::int64_t count, std::uint32_t* chosen) {
    return dispatch<SelectOpen>(bucket_of_items_.data() + begin, count, is_open.data(), chosen);
  };
  const Points& inside = collector.collect_some(problems_, problem_, select, parallel_);
  const auto joins = [&](std::size_t i) { return i > 0 && !open[i - 1] && !alive[i]; };
  Points result;
  std::size_t next = 0;  // of those inside open buckets
  for (std::size_t i = 0; i < points_.size(); ++i) {
    if (open[i]) {
      const std::size_t first = next;
      while (next < inside.size() && inside.weight[next] <= points_.high(i)) ++next;
      append_weights(inside, first, next, result);
      continue;
    }
    PointGroup run = points_.groups[i];
    run.divisible = false;
    if (joins(i)) {
      const PointGroup& before = result.groups.back();
      run = {merge(before.moments, run.moments), before.low, run.high, false};
    }
    append_group(run, points_.quartic(), result, joins(i));
  }
  return result;
}

}  // namespace wkmeans
