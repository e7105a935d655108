#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/base/interrupt.h"
#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"
#include "cpu/intervals/moment_columns.h"
#include "cpu/lagrangian/resting_blocks.h"

namespace wkmeans {

// A sweep over cells with quartic moments, one end at a time. Starts stand in blocks. Paths only
// grow dearer with every cell that their last edges take in, so a block whose paths were too long
// for an earlier end rests until the shortest has become as long; the cells that it misses
// meanwhile are taken in by one merge.
template <class Where>
class RestingSweep {
public:
  struct Buffers {
    Front front;
    RestingBlocks::Buffers resting;
    double* costs;  // potentials, those of the front; infinite past those known
    std::uint32_t* previous;
  };

  // Returns the number of intervals looked at, at most a step's more than `budget`.
  static WKM_ALWAYS_INLINE double run(const QuarticMoments* cells, std::size_t n, double multiplier,
                                      const double* discounts, double budget, Where where,
                                      Buffers buffers) {
    RestingSweep sweep(cells, multiplier, where, buffers);
    InterruptionLooks looks;
    buffers.costs[0] = 0.0;
    for (std::size_t end = 1; end <= n && sweep.work_ <= budget; ++end) {
      sweep.enter(end - 1);
      const double least = sweep.reach(end);
      looks.after(sweep.work_);
      buffers.costs[end] = least + multiplier - (discounts && end < n ? discounts[end] : 0.0);
    }
    return sweep.work_;
  }

private:
  WKM_ALWAYS_INLINE RestingSweep(const QuarticMoments* cells, double multiplier, Where where,
                                 Buffers buffers)
      : cells_(cells),
        multiplier_(multiplier),
        where_(where),
        buffers_(buffers),
        blocks_(buffers.front.stride / kLanes, buffers.resting) {}

  // A start joins the newest block; the cell behind it is one more that the full blocks miss.
  WKM_ALWAYS_INLINE void enter(std::size_t start) {
    if (start % kLanes == 0 && start > 0) blocks_.begin_block();
    buffers_.front.roots[start] = 0.0;
    const double bound = blocks_.bound(blocks_.newest());
    const double cost = buffers_.costs[start];
    blocks_.bound_newest(cost < bound ? cost : bound);
    blocks_.miss(cells_[start]);
    work_ += kWorkOfMissing;
  }

  // Returns the length of the shortest path to `end`, but for its last edge's multiplier.
  WKM_ALWAYS_INLINE double reach(std::size_t end) {
    if (end % kLanes == 0) gather(end);
    const std::size_t awake = best_;
    double least = wake(awake, end);
    double limit = lost_to(least);
    const std::size_t newest = blocks_.newest();
    for (std::size_t block = blocks_.first(); block <= newest; ++block) {
      block = blocks_.next_within(limit, block);
      if (block == awake || blocks_.bound(block) > limit) continue;
      const double bound = wake(block, end);
      if (bound < least) {
        least = bound;
        limit = lost_to(least);
        best_ = block;
      } else if (bound == least && block < best_) {
        best_ = block;
      }
    }
    std::size_t start = best_ * kLanes;
    while (start + 1 < end && buffers_.front.candidates[start] > least) ++start;
    buffers_.previous[end] = static_cast<std::uint32_t>(start);
    // A start that has lost to a later one loses for good (Lemma 2). Those that tie within rounding
    // have not lost.
    while (blocks_.first() < best_ && blocks_.bound(blocks_.first()) > limit) blocks_.drop_first();
    return least;
  }

  // Makes the bound the length of the block's shortest path, and returns it.
  WKM_ALWAYS_INLINE double wake(std::size_t block, std::size_t end) {
    if (block < blocks_.newest()) {
      GrowQuartic::grow(alone(block), blocks_.take_missed(block));
    } else if (end % kLanes != 0) {
      gather(end);
    }
    const std::size_t n_roots = GrowQuartic::settle(alone(block), where_);
    const double bound = least_candidate(alone(block));
    blocks_.set_bound(block, bound);
    work_ += static_cast<double>(kLanes + kWorkOfARoot * n_roots);
    return bound;
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

  // What lies between each of the newest block's starts and `end`.
  WKM_ALWAYS_INLINE void gather(std::size_t end) const {
    const std::size_t begin = blocks_.newest() * kLanes;
    const Front& front = buffers_.front;
    for (std::size_t p = end; p < begin + kLanes; ++p)
      QuarticFields::store(QuarticMoments{}, front.state + p, front.stride);
    QuarticMoments moments{};
    for (std::size_t p = end; p-- > begin;) {
      moments = merge(cells_[p], moments);
      QuarticFields::store(moments, front.state + p, front.stride);
    }
  }

  // What takes as long as looking at so many intervals: to add a cell to what blocks have missed,
  // and to find a root from nothing.
  static constexpr double kWorkOfMissing = 32.0;
  static constexpr std::size_t kWorkOfARoot = 16;

  const QuarticMoments* cells_;
  const double multiplier_;
  const Where where_;
  const Buffers buffers_;
  RestingBlocks blocks_;
  std::size_t best_ = 0;  // the block of the shortest path to the last end
  double work_ = 0.0;
};

}  // namespace wkmeans
