#pragma once

#include <cstdint>

#include "cpu/base/buffer.h"
#include "cpu/base/parallel.h"

namespace wkmeans {

// The lower factor L of an importance matrix S = L L', laid out as feedback reads it.
//
// Columns of the weights are quantised from the last to the first: step p quantises column
// n - 1 - p. An error e = w - v made there moves the target of each later step q by
// e * coefficient(p, q), L[n-1-p][n-1-q] / L[n-1-q][n-1-q], and the whole objective is
// sum_q (L[n-1-q][n-1-q] (target - v))^2. Steps come in blocks: what earlier blocks add to a
// block's targets is a matrix product over panels of columns; inside a block, one step follows
// another.
class FeedbackFactor {
public:
  static constexpr std::int64_t kBlock = 64;

  // lower: (n, n) with a positive diagonal.
  FeedbackFactor(const double* lower, std::int64_t n, const Parallel& parallel);

  std::int64_t n() const { return n_; }
  std::int64_t n_blocks() const { return (n_ + kBlock - 1) / kBlock; }

  // Coefficients of all steps before the block: kBlock / 8 panels of 8 steps of the block, each
  // with one row of 8 for every earlier step. Zeros stand for steps that are not there.
  const double* before(std::int64_t block) const {
    return before_.data() + kBlock * kBlock * (block * (block - 1) / 2);
  }
  // (kBlock, kBlock): the coefficients from step to step of the block, zero up to the diagonal.
  const double* inside(std::int64_t block) const {
    return inside_.data() + kBlock * kBlock * block;
  }
  // The diagonal of L by steps.
  const double* diagonal() const { return diagonal_.data(); }

private:
  void pack_block(const double* lower, std::int64_t block);

  std::int64_t n_;
  Buffer<double> before_;
  Buffer<double> inside_;
  Buffer<double> diagonal_;
};

}  // namespace wkmeans
