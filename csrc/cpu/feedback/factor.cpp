#include "cpu/feedback/factor.h"

#include <algorithm>

#include "cpu/products/product_tile.h"

namespace wkmeans {

FeedbackFactor::FeedbackFactor(const double* lower, std::int64_t n, const Parallel& parallel)
    : n_(n) {
  const std::int64_t blocks = n_blocks();
  before_.resize(static_cast<std::size_t>(kBlock * kBlock * (blocks * (blocks - 1) / 2)));
  inside_.resize(static_cast<std::size_t>(kBlock * kBlock * blocks));
  diagonal_.resize(static_cast<std::size_t>(n));
  for (std::int64_t q = 0; q < n; ++q) {
    diagonal_[static_cast<std::size_t>(q)] = lower[(n - 1 - q) * (n + 1)];
  }
  parallel.run(blocks, [&](std::int64_t block) { pack_block(lower, block); });
}

void FeedbackFactor::pack_block(const double* lower, std::int64_t block) {
  const std::int64_t begin = block * kBlock;
  const auto coefficient = [&](std::int64_t p, std::int64_t q) {
    if (q >= n_ || p >= q) return 0.0;
    return lower[(n_ - 1 - p) * n_ + (n_ - 1 - q)] / diagonal_[static_cast<std::size_t>(q)];
  };
  auto out = static_cast<std::size_t>(before(block) - before_.data());
  for (std::int64_t first = begin; first < begin + kBlock; first += Tile<double>::kColumns) {
    for (std::int64_t p = 0; p < begin; ++p) {
      for (int lane = 0; lane < Tile<double>::kColumns; ++lane)
        before_[out++] = coefficient(p, first + lane);
    }
  }
  auto at = static_cast<std::size_t>(kBlock * kBlock * block);
  for (std::int64_t p = begin; p < begin + kBlock; ++p) {
    for (std::int64_t q = begin; q < begin + kBlock; ++q) inside_[at++] = coefficient(p, q);
  }
}

}  // namespace wkmeans
