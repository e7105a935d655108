#include "cpu/buckets.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/radix_sort.h"
#include "math/moments.h"

namespace wkmeans {
namespace {

constexpr std::uint32_t kNowhere = 0xffffffffu;
constexpr std::int64_t kMostParts = 8;  // of a problem, each with sums of its own

// Sums of powers of the distance to a bucket's middle.
struct QuadraticSums {
  static constexpr bool kQuartic = false;
  double count, mass, first, second;

  void add(double distance, double importance, double /*quartic_importance*/) {
    const double term = importance * distance;
    count += 1.0;
    mass += importance;
    first += term;
    second += term * distance;
  }
  void add(const QuadraticSums& other) {
    count += other.count;
    mass += other.mass;
    first += other.first;
    second += other.second;
  }
  bool empty() const { return mass == 0.0; }
};

struct QuarticSums {
  static constexpr bool kQuartic = true;
  double count, mass, first, second;
  double quartic[5];  // H times powers 0 to 4

  void add(double distance, double importance, double quartic_importance) {
    const double term = importance * distance;
    count += 1.0;
    mass += importance;
    first += term;
    second += term * distance;
    double power = quartic_importance;
    for (double& sum : quartic) {
      sum += power;
      power *= distance;
    }
  }
  void add(const QuarticSums& other) {
    count += other.count;
    mass += other.mass;
    first += other.first;
    second += other.second;
    for (int p = 0; p < 5; ++p) quartic[p] += other.quartic[p];
  }
  bool empty() const { return mass == 0.0 && quartic[0] == 0.0; }
};

double at_least_zero(double value) { return value < 0.0 ? 0.0 : value; }

SecondMoments about_mean(double mass, double middle, double first, double second) {
  if (!(mass > 0.0)) return {0.0, middle, 0.0, 0.0};
  const double offset = first / mass;
  return {mass, middle, offset, at_least_zero(second - first * offset)};
}

FourthMoments about_mean(const double (&sums)[5], double middle) {
  if (!(sums[0] > 0.0)) return {0.0, middle, 0.0, 0.0, 0.0, 0.0};
  const double m = sums[1] / sums[0];
  const double third = sums[3] - m * (3.0 * sums[2] - m * (3.0 * sums[1] - m * sums[0]));
  const double fourth =
      sums[4] - m * (4.0 * sums[3] - m * (6.0 * sums[2] - m * (4.0 * sums[1] - m * sums[0])));
  const double second = at_least_zero(sums[2] - m * sums[1]);
  const double most = std::sqrt(second) * std::sqrt(at_least_zero(fourth));  // Cauchy-Schwarz
  return {sums[0], middle, m, second, std::clamp(third, -most, most), at_least_zero(fourth)};
}

QuarticMoments moments_of(const QuadraticSums& sums, double middle) {
  return {about_mean(sums.mass, middle, sums.first, sums.second), {}};
}
QuarticMoments moments_of(const QuarticSums& sums, double middle) {
  return {about_mean(sums.mass, middle, sums.first, sums.second), about_mean(sums.quartic, middle)};
}

// Adds up a problem's items by bucket: in parts of their own, which are added in order, so that the
// sums do not depend on the number of threads.
template <class Sums>
std::vector<Sums> bucket_sums(const Problems& problems, std::int64_t problem, const BucketMap& map,
                              const std::vector<double>& middles, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  const std::int64_t n_chunks = chunk_count(n);
  const std::int64_t n_parts = std::min(kMostParts, n_chunks);
  std::vector<std::vector<Sums>> parts(static_cast<std::size_t>(n_parts));
  parallel.run_with_workers(n_parts, [&] {
    return [&, items = ItemBuffer{}](std::int64_t part) mutable {
      std::vector<Sums>& sums = parts[static_cast<std::size_t>(part)];
      sums.assign(map.size(), Sums{});
      for (std::int64_t chunk = n_chunks * part / n_parts; chunk < n_chunks * (part + 1) / n_parts;
           ++chunk) {
        const std::int64_t begin = chunk * kChunk;
        const auto count = static_cast<std::size_t>(std::min(kChunk, n - begin));
        load_items(problems, problem, begin, static_cast<std::int64_t>(count), items);
        check_items(problems, items);
        for (std::size_t i = 0; i < count; ++i) {
          const std::size_t bucket = map.bucket_of(items.weight[i]);
          sums[bucket].add(items.weight[i] - middles[bucket], items.importance[i],
                           Sums::kQuartic ? items.quartic_importance[i] : 0.0);
        }
      }
    };
  });
  std::vector<Sums> total = std::move(parts.front());
  for (std::size_t part = 1; part < parts.size(); ++part) {
    for (std::size_t bucket = 0; bucket < total.size(); ++bucket)
      total[bucket].add(parts[part][bucket]);
  }
  return total;
}

// The few weights far out count most, and a sample misses them: binades next to the outermost ones
// that it names are expected to hold some too, ever fewer.
void expect_rare_weights(std::vector<double>& counts) {
  constexpr std::size_t kBinadesBeyond = 12;
  constexpr double kFall = 0.125;  // about t5's tails, and steeper than any that need it not
  const auto is_named = [](double count) { return count > 0.0; };
  const std::size_t size = counts.size();
  const auto first = static_cast<std::size_t>(std::find_if(counts.begin(), counts.end(), is_named) -
                                              counts.begin());
  if (first == size) return;
  std::size_t last = size - 1;
  while (!is_named(counts[last])) --last;
  // Keys descend towards the largest magnitudes among negative weights, ascend among positive ones.
  double expected = 1.0;
  for (std::size_t i = 1; i <= kBinadesBeyond; ++i, expected *= kFall) {
    if (first < size / 2 && first >= i) counts[first - i] = expected;
    if (last >= size / 2 && last + i < size) counts[last + i] = expected;
  }
}

}  // namespace

std::uint64_t BucketMap::key_of(double weight) const {
  return wide_ ? sort_key(weight) : sort_key(static_cast<float>(weight));
}

double BucketMap::value_of(std::uint64_t key) const {
  return wide_ ? value_of_key(key) : value_of_key(static_cast<std::uint32_t>(key));
}

// The optimal density of centroids goes with the cube root of the weights' own: a binade gets
// buckets in proportion to (share of the sample * width^2)^(1/3).
BucketMap::BucketMap(const Problems& problems, std::int64_t problem, std::size_t n_buckets)
    : wide_(problems.weights->dtype() == DType::float64),
      mantissa_bits_(wide_ ? 52 : 23),
      mantissa_mask_((std::uint64_t{1} << mantissa_bits_) - 1) {
  constexpr std::int64_t kSample = 8192;
  constexpr std::int64_t kRun = 16;  // neighbours, which are read together
  const std::int64_t n = problems.weights->n_items();
  const std::int64_t n_runs = std::min(kSample, n) / kRun;
  binades_.resize(std::size_t{1} << (wide_ ? 12 : 9));
  std::vector<double> counts(binades_.size(), 0.0);
  double sample[kRun];
  for (std::int64_t run = 0; run < n_runs; ++run) {
    problems.weights->load(problem, (n - kRun) / n_runs * run, kRun, sample);
    for (const double weight : sample) {
      if (std::isfinite(weight))
        counts[static_cast<std::size_t>(key_of(weight) >> mantissa_bits_)] += 1.0;
    }
  }
  expect_rare_weights(counts);
  std::vector<double> shares(binades_.size(), 0.0);
  double total = 0.0;
  for (std::size_t b = 0; b < binades_.size(); ++b) {
    if (counts[b] == 0.0) continue;
    const std::uint64_t first = static_cast<std::uint64_t>(b) << mantissa_bits_;
    const double width = value_of(first | mantissa_mask_) - value_of(first);
    shares[b] = std::cbrt(counts[b]) * std::cbrt(width) * std::cbrt(width);
    if (std::isfinite(shares[b])) total += shares[b];
  }
  for (std::size_t b = 0; b < binades_.size(); ++b) {
    const double wanted = total > 0.0 ? static_cast<double>(n_buckets) * shares[b] / total : 1.0;
    int bits = 0;
    while (bits < mantissa_bits_ && bits < 20 && std::ldexp(1.0, bits) < wanted) ++bits;
    binades_[b] = {static_cast<std::uint32_t>(size_),
                   static_cast<std::uint32_t>(mantissa_bits_ - bits)};
    size_ += std::size_t{1} << bits;
  }
}

std::vector<BucketMap::Range> BucketMap::ranges() const {
  std::vector<Range> found;
  found.reserve(size_);
  for (std::size_t b = 0; b < binades_.size(); ++b) {
    const std::uint64_t first = static_cast<std::uint64_t>(b) << mantissa_bits_;
    const std::uint64_t step = std::uint64_t{1} << binades_[b].shift;
    for (std::uint64_t at = 0; at <= mantissa_mask_; at += step)
      found.push_back({value_of(first | at), value_of(first | (at + step - 1))});
  }
  return found;
}

BucketedPoints::BucketedPoints(const Problems& problems, std::int64_t problem,
                               std::size_t n_buckets, const Parallel& parallel)
    : problems_(problems),
      problem_(problem),
      parallel_(parallel),
      map_(problems, problem, n_buckets) {
  const std::vector<BucketMap::Range> ranges = map_.ranges();
  std::vector<double> middles(ranges.size());
  for (std::size_t b = 0; b < ranges.size(); ++b)
    middles[b] = ranges[b].low + 0.5 * (ranges[b].high - ranges[b].low);
  point_of_bucket_.assign(ranges.size(), kNowhere);
  const auto make_points = [&](const auto& sums) {
    for (std::size_t b = 0; b < ranges.size(); ++b) {
      if (sums[b].empty()) continue;
      point_of_bucket_[b] = static_cast<std::uint32_t>(points_.size());
      const QuarticMoments moments = moments_of(sums[b], middles[b]);
      append_group(moments, ranges[b].low, ranges[b].high, ranges[b].low < ranges[b].high,
                   problems.quartic(), points_);
      const double square = (ranges[b].high - ranges[b].low) * (ranges[b].high - ranges[b].low);
      rounding_.add(sums[b].count, moments.quadratic.mass * square,
                    moments.quartic.mass * (square * square));
    }
  };
  if (problems.quartic()) {
    make_points(bucket_sums<QuarticSums>(problems, problem, map_, middles, parallel));
  } else {
    make_points(bucket_sums<QuadraticSums>(problems, problem, map_, middles, parallel));
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
  const Points& inside = collector.collect_some(
      problems_, problem_,
      [&](double weight) {
        const std::uint32_t point = point_of_bucket_[map_.bucket_of(weight)];
        return point != kNowhere && open[point];
      },
      parallel_);
  Points result;
  std::size_t next = 0;  // of those inside open buckets
  const bool quartic = points_.quartic();
  for (std::size_t i = 0; i < points_.size(); ++i) {
    if (open[i]) {
      for (; next < inside.size() && inside.weight[next] <= points_.high(i); ++next) {
        const double h = quartic ? inside.quartic_importance[next] : 0.0;
        append_group(QuarticMoments::of(inside.weight[next], inside.importance[next], h),
                     inside.weight[next], inside.weight[next], false, quartic, result);
      }
      continue;
    }
    const bool joins = i > 0 && !open[i - 1] && !alive[i];
    const QuarticMoments own = points_.groups[i];
    append_group(joins ? merge(result.groups.back(), own) : own,
                 joins ? result.lows.back() : points_.low(i), points_.high(i), false, quartic,
                 result, joins);
  }
  return result;
}

}  // namespace wkmeans
