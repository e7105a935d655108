#include "cpu/sort/partitions.h"

#include <algorithm>

#include "cpu/base/items.h"

namespace wkmeans {
namespace {

constexpr std::int64_t kFewItems = std::int64_t{1} << 16;  // one partition
constexpr std::int64_t kManyItems = std::int64_t{1} << 20;
constexpr std::size_t kItems = std::size_t{1} << 14;  // of a partition: they stay in second cache
constexpr std::size_t kMostPartitions = 1024;         // so do the ends of as many

}  // namespace

template <class Value>
std::vector<std::uint32_t> Partitions::count_bins(const Problems& problems, std::int64_t problem,
                                                  const Parallel& parallel) const {
  const std::int64_t n = problems.weights->n_items();
  const std::size_t n_bins = std::size_t{1} << leading_bits_;
  std::vector<std::uint32_t> counts(n_bins * static_cast<std::size_t>(n_segments_));
  parallel.run(n_segments_, [&](std::int64_t segment) {
    std::uint32_t* count = counts.data() + static_cast<std::size_t>(segment) * n_bins;
    std::vector<Value> own;
    const std::int64_t end = std::min(n, kChunk * first_chunk(segment + 1));
    for (std::int64_t begin = kChunk * first_chunk(segment); begin < end; begin += kItemBlock) {
      const std::int64_t size = std::min(kItemBlock, end - begin);
      const Value* weights = read_values(*problems.weights, problem, begin, size, own);
      for (std::int64_t i = 0; i < size; ++i) ++count[bin_of(sort_key(weights[i]))];
    }
  });
  return counts;
}

template <class Value>
void Partitions::plan(const Problems& problems, std::int64_t problem, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  const auto size = static_cast<std::size_t>(n);
  n_chunks_ = chunk_count(n);
  partition_of_bin_.clear();
  if (n < kFewItems) {
    n_segments_ = 1;
    begins_ = {0, size};
    next_ = {0};
    return;
  }
  leading_bits_ = n < kManyItems ? 12 : 16;
  n_segments_ = std::min<std::int64_t>(parallel.n_threads(), n_chunks_);
  const auto n_segments = static_cast<std::size_t>(n_segments_);
  const std::vector<std::uint32_t> counts = count_bins<Value>(problems, problem, parallel);
  const std::size_t n_bins = counts.size() / n_segments;
  const std::size_t wanted = std::max(kItems, size / kMostPartitions + 1);
  partition_of_bin_.resize(n_bins);
  begins_ = {0};
  std::vector<std::size_t> counts_of_partitions(n_segments);  // [partition][segment]
  std::size_t count = 0;
  for (std::size_t bin = 0; bin < n_bins; ++bin) {
    if (count - begins_.back() >= wanted) {
      begins_.push_back(count);
      counts_of_partitions.resize(begins_.size() * n_segments);
    }
    const std::size_t partition = begins_.size() - 1;
    partition_of_bin_[bin] = static_cast<std::uint16_t>(partition);
    for (std::size_t segment = 0; segment < n_segments; ++segment) {
      const std::size_t in_segment = counts[segment * n_bins + bin];
      counts_of_partitions[partition * n_segments + segment] += in_segment;
      count += in_segment;
    }
  }
  begins_.push_back(size);
  next_.resize(n_segments * this->size());
  for (std::size_t partition = 0; partition < this->size(); ++partition) {
    std::size_t at = begins_[partition];
    for (std::size_t segment = 0; segment < n_segments; ++segment) {
      next_[segment * this->size() + partition] = at;
      at += counts_of_partitions[partition * n_segments + segment];
    }
  }
}

template void Partitions::plan<float>(const Problems&, std::int64_t, const Parallel&);
template void Partitions::plan<double>(const Problems&, std::int64_t, const Parallel&);

}  // namespace wkmeans
