#include "cpu/coding/code_table.h"

namespace wkmeans {
namespace {

// Buckets a share, on average, and altogether: enough that few of them are cut, few enough that
// several tables stay in the first cache.
constexpr int kBucketsPerShare = 6;  // as powers of 2
constexpr int kMostBuckets = 12;

int bits_of(std::size_t n) {
  int bits = 0;
  for (; n > 0; n >>= 1) ++bits;
  return bits;
}

}  // namespace

CodeTable::CodeTable(const CodeCounts& counts) : first_(counts.first) {
  std::uint64_t total = 0;
  for (const std::int64_t* count = counts.begin; count != counts.end; ++count) {
    rank_.push_back(static_cast<std::uint32_t>(codes_.size()));
    if (*count == 0) continue;
    codes_.push_back(static_cast<std::uint32_t>(first_ + (count - counts.begin)));
    total += static_cast<std::uint64_t>(*count);
  }
  if (codes_.empty()) {
    codes_ = {static_cast<std::uint32_t>(first_)};
    bounds_ = {0, kAnsTotal};
  } else {
    set_bounds(counts, total);
  }
  set_buckets();
}

void CodeTable::set_bounds(const CodeCounts& counts, std::uint64_t total) {
  const std::uint64_t free = kAnsTotal - codes_.size();
  std::uint64_t before = 0;
  bounds_.reserve(codes_.size() + 1);
  bounds_.push_back(0);
  for (const std::uint32_t code : codes_) {
    before += static_cast<std::uint64_t>(counts.begin[code - first_]);
    // Below 2^40 times 2^24, and codes are those whose counts are not 0.
    // NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
    bounds_.push_back(static_cast<std::uint32_t>(before * free / total + bounds_.size()));
  }
}

void CodeTable::set_buckets() {
  const int bits = std::min(kMostBuckets, bits_of(codes_.size()) + kBucketsPerShare);
  shift_ = kAnsBits - bits;
  const auto n_buckets = std::size_t{1} << bits;
  first_of_.resize(n_buckets + 1);
  std::uint32_t j = 0;
  for (std::size_t bucket = 0; bucket < n_buckets; ++bucket) {
    while (j + 1 < codes_.size() && bounds_[j + 1] <= bucket << shift_) ++j;
    first_of_[bucket] = j;
  }
  first_of_[n_buckets] = static_cast<std::uint32_t>(codes_.size() - 1);
}

}  // namespace wkmeans
