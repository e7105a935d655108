#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/base/interrupt.h"
#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"
#include "cpu/intervals/moment_columns.h"

namespace wkmeans {

// A sweep over cells with quartic moments, one end at a time. Starts stand in blocks. Paths only
// grow dearer with every cell that their last edges take in, so a block whose paths were too long
// for an earlier end rests until the shortest has become as long; the cells that it misses are
// summed up meanwhile, and taken in by one merge.
template <class Where>
class RestingSweep {
public:
  static constexpr std::size_t kWhole = 4;  // blocks that missed cells are added up for at a time

  struct Buffers {
    Front front;
    double* missed;  // moments by block, a column a field; room for kWhole more
    std::size_t missed_stride;
    double* bounds;  // by block: no path through it is shorter
    double* costs;   // potentials, those of the front; infinite past those known
    std::uint32_t* previous;
  };

  // Returns the number of intervals looked at, at most a step's more than `budget`.
  static WKM_ALWAYS_INLINE double run(const QuarticMoments* cells, std::size_t n, double multiplier,
                                      const double* discounts, double budget, Where where,
                                      Buffers buffers) {
    RestingSweep sweep(cells, multiplier, where, buffers);
    buffers.costs[0] = 0.0;
    for (std::size_t end = 1; end <= n && sweep.work_ <= budget; ++end) {
      sweep.enter(end - 1);
      const double work = sweep.work_;
      const double least = sweep.reach(end);
      stop_if_interrupted_after(static_cast<std::size_t>(sweep.work_ - work));
      buffers.costs[end] = least + multiplier - (discounts && end < n ? discounts[end] : 0.0);
    }
    return sweep.work_;
  }

private:
  WKM_ALWAYS_INLINE RestingSweep(const QuarticMoments* cells, double multiplier, Where where,
                                 Buffers buffers)
      : cells_(cells), multiplier_(multiplier), where_(where), buffers_(buffers) {}

  // A start joins the newest block; the cell behind it is one more that the full blocks miss.
  WKM_ALWAYS_INLINE void enter(std::size_t start) {
    newest_ = start / kLanes;
    if (start % kLanes == 0) {
      buffers_.bounds[newest_] = kInfinity;
      if (start > 0) miss_nothing(newest_ - 1);
    }
    buffers_.front.roots[start] = 0.0;
    double& bound = buffers_.bounds[newest_];
    bound = buffers_.costs[start] < bound ? buffers_.costs[start] : bound;
    miss(cells_[start]);
  }

  WKM_ALWAYS_INLINE void miss_nothing(std::size_t block) const {
    QuarticFields::store(QuarticMoments{}, buffers_.missed + block, buffers_.missed_stride);
  }

  WKM_ALWAYS_INLINE void miss(const QuarticMoments& cell) const {
    // What stands behind the last full block is of no use yet.
    const std::size_t n_blocks = (newest_ - first_ + kWhole - 1) / kWhole * kWhole;
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < n_blocks; ++i) {
      double* at = buffers_.missed + first_ + i;
      QuarticFields::store(merge(QuarticFields::load(at, buffers_.missed_stride), cell), at,
                           buffers_.missed_stride);
    }
  }

  // Returns the length of the shortest path to `end`, but for its last edge's multiplier.
  WKM_ALWAYS_INLINE double reach(std::size_t end) {
    if (end % kLanes == 0) gather(end);
    wake(best_, end);
    double least = buffers_.bounds[best_];
    for (std::size_t block = first_; block <= newest_; ++block) {
      if (block == best_ || buffers_.bounds[block] > lost_to(least)) continue;
      wake(block, end);
      least = buffers_.bounds[block] < least ? buffers_.bounds[block] : least;
    }
    best_ = first_;
    while (best_ < newest_ && buffers_.bounds[best_] > least) ++best_;
    std::size_t start = best_ * kLanes;
    while (start + 1 < end && buffers_.front.candidates[start] > least) ++start;
    buffers_.previous[end] = static_cast<std::uint32_t>(start);
    // A start that has lost to a later one loses for good (Lemma 2). Those that tie within rounding
    // have not lost.
    while (first_ < best_ && buffers_.bounds[first_] > lost_to(least)) ++first_;
    return least;
  }

  // Makes the bound the length of the block's shortest path.
  WKM_ALWAYS_INLINE void wake(std::size_t block, std::size_t end) {
    if (block < newest_) {
      catch_up(block);
    } else if (end % kLanes != 0) {
      gather(end);
    }
    GrowQuartic::settle(alone(block), where_);
    buffers_.bounds[block] = least_candidate(alone(block));
    work_ += static_cast<double>(kLanes);
  }

  WKM_ALWAYS_INLINE double lost_to(double least) const {
    return least + kTie * (std::fabs(least) + multiplier_);
  }

  WKM_ALWAYS_INLINE Front alone(std::size_t block) const {
    Front front = buffers_.front;
    front.first = block * kLanes;
    front.n_blocks = 1;
    return front;
  }

  WKM_ALWAYS_INLINE void catch_up(std::size_t block) const {
    GrowQuartic::grow(alone(block),
                      QuarticFields::load(buffers_.missed + block, buffers_.missed_stride));
    miss_nothing(block);
  }

  // What lies between each of the newest block's starts and `end`.
  WKM_ALWAYS_INLINE void gather(std::size_t end) const {
    const std::size_t begin = newest_ * kLanes;
    const Front& front = buffers_.front;
    for (std::size_t p = end; p < begin + kLanes; ++p)
      QuarticFields::store(QuarticMoments{}, front.state + p, front.stride);
    QuarticMoments moments{};
    for (std::size_t p = end; p-- > begin;) {
      moments = merge(cells_[p], moments);
      QuarticFields::store(moments, front.state + p, front.stride);
    }
  }

  const QuarticMoments* cells_;
  const double multiplier_;
  const Where where_;
  const Buffers buffers_;
  std::size_t first_ = 0;   // of the blocks that matter
  std::size_t newest_ = 0;  // to which starts are still being added
  std::size_t best_ = 0;    // that of the shortest path to the last end
  double work_ = 0.0;
};

}  // namespace wkmeans
