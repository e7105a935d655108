#include "cpu/read/bucket_map.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/base/isa.h"
#include "math/sort_key.h"

namespace wkmeans {
namespace {

constexpr int kFloatMantissa = 23;
constexpr int kDoubleMantissa = 52;

// The few weights far out count most, and a sample misses them: the binades beyond the outermost
// ones of the sample are expected to hold some, fewer from one to the next.
void expect_rare_weights(std::vector<double>& counts) {
  constexpr std::size_t kBinadesBeyond = 12;
  constexpr double kFall = 0.125;  // about as Student's t with 5 degrees of freedom falls
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

// Keys first, which vectorise, then a look-up for each.
template <class Value, int MantissaBits>
struct FindBuckets {
  template <class Real>
  static WKM_ALWAYS_INLINE void run(const Real* weights, std::int64_t count,
                                    const BucketMap::Binade* binades, BucketMap::Bucket* buckets) {
    constexpr std::int64_t kRun = 64;
    decltype(sort_key(Value{})) keys[kRun];
    for (std::int64_t begin = 0; begin < count; begin += kRun) {
      const std::int64_t size = count - begin < kRun ? count - begin : kRun;
      for (std::int64_t i = 0; i < size; ++i)
        keys[i] = sort_key(static_cast<Value>(weights[begin + i]));
      for (std::int64_t i = 0; i < size; ++i) {
        BucketMap::Binade binade;  // in one load
        std::memcpy(&binade, binades + (keys[i] >> MantissaBits), sizeof binade);
        const auto leading = static_cast<std::uint32_t>(keys[i] >> binade.shift);
        buckets[begin + i] = static_cast<BucketMap::Bucket>(leading + binade.offset);
      }
    }
  }
};

}  // namespace

std::uint64_t BucketMap::key_of(double weight) const {
  return wide_ ? sort_key(weight) : sort_key(static_cast<float>(weight));
}

double BucketMap::value_of(std::uint64_t key) const {
  return wide_ ? value_of_key(key) : value_of_key(static_cast<std::uint32_t>(key));
}

BucketMap::BucketMap(const Problems& problems, std::int64_t problem, std::size_t n_buckets)
    : wide_(problems.weights->dtype() == DType::float64),
      mantissa_bits_(wide_ ? kDoubleMantissa : kFloatMantissa),
      binades_(std::size_t{1} << (wide_ ? 12 : 9)) {
  const std::vector<double> shares = sampled_shares(problems, problem);
  do {
    cut(shares, n_buckets);
    n_buckets /= 2;
  } while (size_ > kMost);
}

// The optimal density of centroids goes with the cube root of the weights' own: a binade gets
// buckets in proportion to (share of the sample * width^2)^(1/3).
std::vector<double> BucketMap::sampled_shares(const Problems& problems,
                                              std::int64_t problem) const {
  constexpr std::int64_t kSample = 8192;
  constexpr std::int64_t kRun = 16;  // neighbours, which are read together
  const std::int64_t n = problems.weights->n_items();
  const std::int64_t n_runs = std::min(kSample, n) / kRun;
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
  for (std::size_t b = 0; b < binades_.size(); ++b) {
    if (counts[b] == 0.0) continue;
    const std::uint64_t first = static_cast<std::uint64_t>(b) << mantissa_bits_;
    const std::uint64_t last = first + ((std::uint64_t{1} << mantissa_bits_) - 1);
    const double width = value_of(last) - value_of(first);
    const double share = std::cbrt(counts[b]) * std::cbrt(width) * std::cbrt(width);
    if (std::isfinite(share)) shares[b] = share;
  }
  return shares;
}

void BucketMap::cut(const std::vector<double>& shares, std::size_t n_buckets) {
  constexpr int kMostBits = 20;
  double total = 0.0;
  for (const double share : shares) total += share;
  size_ = 0;
  for (std::size_t b = 0; b < binades_.size(); ++b) {
    const double wanted = total > 0.0 ? static_cast<double>(n_buckets) * shares[b] / total : 1.0;
    int bits = 0;
    while (bits < kMostBits && std::ldexp(1.0, bits) < wanted) ++bits;
    binades_[b] = {static_cast<std::uint32_t>(size_ - (b << bits)),
                   static_cast<std::uint32_t>(mantissa_bits_ - bits)};
    size_ += std::size_t{1} << bits;
  }
}

template <class Real>
void BucketMap::find(const Real* weights, std::int64_t count, Bucket* buckets) const {
  if (wide_) {
    dispatch<FindBuckets<double, kDoubleMantissa>>(weights, count, binades_.data(), buckets);
  } else {
    dispatch<FindBuckets<float, kFloatMantissa>>(weights, count, binades_.data(), buckets);
  }
}

template void BucketMap::find(const float*, std::int64_t, Bucket*) const;
template void BucketMap::find(const double*, std::int64_t, Bucket*) const;

std::vector<BucketMap::Bounds> BucketMap::bounds() const {
  std::vector<Bounds> found;
  found.reserve(size_);
  for (std::size_t b = 0; b < binades_.size(); ++b) {
    const std::uint64_t first = static_cast<std::uint64_t>(b) << mantissa_bits_;
    const std::uint64_t step = std::uint64_t{1} << binades_[b].shift;
    for (std::uint64_t at = 0; at >> mantissa_bits_ == 0; at += step)
      found.push_back({value_of(first + at), value_of(first + at + (step - 1))});
  }
  return found;
}

}  // namespace wkmeans
