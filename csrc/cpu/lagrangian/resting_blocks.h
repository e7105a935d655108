#pragma once

#include <cstddef>

#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"
#include "cpu/intervals/moment_columns.h"

namespace wkmeans {

// What a sweep knows of its blocks of starts while they rest: a bound that no path through a block
// undercuts, and the moments of the cells that it has missed.
//
// As a rule a few blocks matter. Where costs lie so many decades apart that the paths of thousands
// tie within rounding, those that have long been full miss cells together: in groups of kFanOut,
// groups of such groups and so on. A cell is then added up a few dozen times however many blocks
// there are, and groups whose blocks are all too long are passed over as one.
class RestingBlocks {
public:
  // Of every level in one row; a node more than its own is written at some ends of a level.
  struct Buffers {
    double* missed;  // moments by node, a column a field
    double* bounds;  // by node: of a group, the least of its blocks'
    std::size_t n_nodes;
  };

  static std::size_t n_nodes(std::size_t n_blocks) {
    std::size_t n_nodes = 0;
    for (std::size_t level = 0; level < kLevels; ++level, n_blocks /= kFanOut)
      n_nodes += n_blocks + kWhole;
    return n_nodes;
  }

  WKM_ALWAYS_INLINE RestingBlocks(std::size_t n_blocks, const Buffers& buffers)
      : buffers_(buffers) {
    std::size_t base = 0;
    for (std::size_t level = 0; level < kLevels; ++level, n_blocks /= kFanOut) {
      bases_[level] = base;
      base += n_blocks + kWhole;
    }
    buffers_.bounds[0] = kInfinity;
  }

  // The blocks that matter, the last of them not full yet.
  WKM_ALWAYS_INLINE std::size_t first() const { return first_; }
  WKM_ALWAYS_INLINE std::size_t newest() const { return ends_[0]; }
  WKM_ALWAYS_INLINE double bound(std::size_t block) const { return buffers_.bounds[block]; }

  WKM_ALWAYS_INLINE void bound_newest(double bound) const { buffers_.bounds[newest()] = bound; }

  WKM_ALWAYS_INLINE void set_bound(std::size_t block, double bound) const {
    buffers_.bounds[block] = bound;
    if (is_grouped(block)) bound_groups_of(block);
  }

  WKM_ALWAYS_INLINE void drop_first() {
    set_bound(first_, kInfinity);
    ++first_;
  }

  // Another newest block; the last one is full.
  WKM_ALWAYS_INLINE void begin_block() {
    miss_nothing(0, ends_[0]++);
    buffers_.bounds[newest()] = kInfinity;
    for (std::size_t level = 0; level + 1 < kLevels; ++level) {
      const std::size_t group = ends_[level + 1];
      if (ends_[level] - kFanOut * group < 2 * kFanOut) return;
      miss_nothing(level + 1, group);
      ++ends_[level + 1];
      n_grouped_ = kFanOut * ends_[1];
      bound_group(level + 1, group);
    }
  }

  // The full blocks miss one more cell.
  WKM_ALWAYS_INLINE void miss(const QuarticMoments& cell) const {
    if (is_grouped(first_)) {
      add(cell, 0, n_grouped_, ends_[0]);
      miss_in_groups(cell);
    } else {
      add(cell, 0, first_, ends_[0]);
    }
  }

  // The moments of what the block has missed; it has missed nothing from then on.
  WKM_ALWAYS_INLINE QuarticMoments take_missed(std::size_t block) const {
    if (is_grouped(block)) hand_down(block);
    const QuarticMoments missed = QuarticFields::load(buffers_.missed + block, buffers_.n_nodes);
    miss_nothing(0, block);
    return missed;
  }

  // The next block, from this one on, whose bound is within the limit; else the newest.
  WKM_ALWAYS_INLINE std::size_t next_within(double limit, std::size_t block) const {
    while (is_grouped(block)) {
      const std::size_t next = behind_groups(limit, block);
      if (next > block) {
        block = next;
      } else if (bound(block) > limit) {
        ++block;
      } else {
        return block;
      }
    }
    while (block < newest() && bound(block) > limit) ++block;
    return block;
  }

private:
  static constexpr std::size_t kLevels = 4;
  static constexpr std::size_t kFanOut = 16;
  static constexpr std::size_t kWhole = 4;  // nodes that cells are added to at a time

  // As a rule no block that matters is so old, and what groups take must not slow that down.
  WKM_ALWAYS_INLINE bool is_grouped(std::size_t block) const {
    return WKM_UNLIKELY(block < n_grouped_);
  }

  WKM_ALWAYS_INLINE void bound_groups_of(std::size_t block) const {
    for (std::size_t level = 1; level < kLevels && (block /= kFanOut) < ends_[level]; ++level)
      bound_group(level, block);
  }

  WKM_ALWAYS_INLINE void miss_in_groups(const QuarticMoments& cell) const {
    std::size_t first = first_;
    for (std::size_t level = 1; level < kLevels && (first /= kFanOut) < ends_[level]; ++level) {
      const std::size_t ungrouped = level + 1 < kLevels ? kFanOut * ends_[level + 1] : 0;
      add(cell, level, first < ungrouped ? ungrouped : first, ends_[level]);
    }
  }

  WKM_ALWAYS_INLINE void miss_nothing(std::size_t level, std::size_t node) const {
    QuarticFields::store(QuarticMoments{}, buffers_.missed + bases_[level] + node,
                         buffers_.n_nodes);
  }

  WKM_ALWAYS_INLINE void bound_group(std::size_t level, std::size_t group) const {
    buffers_.bounds[bases_[level] + group] =
        least_of(buffers_.bounds + bases_[level - 1] + kFanOut * group, kFanOut);
  }

  // What stands behind the last node is of no use yet.
  WKM_ALWAYS_INLINE void add(const QuarticMoments& moments, std::size_t level, std::size_t begin,
                             std::size_t end) const {
    if (begin >= end) return;
    double* first = buffers_.missed + bases_[level] + begin;
    const std::size_t n_nodes = (end - begin + kWhole - 1) / kWhole * kWhole;
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < n_nodes; ++i) {
      double* at = first + i;
      QuarticFields::store(merge(QuarticFields::load(at, buffers_.n_nodes), moments), at,
                           buffers_.n_nodes);
    }
  }

  // What the groups around the block have missed goes to all their blocks.
  WKM_ALWAYS_INLINE void hand_down(std::size_t block) const {
    std::size_t groups[kLevels] = {block};
    for (std::size_t level = 1; level < kLevels; ++level)
      groups[level] = groups[level - 1] / kFanOut;
    for (std::size_t level = kLevels - 1; level > 0; --level) {
      const std::size_t group = groups[level];
      if (group >= ends_[level]) continue;
      const QuarticMoments missed =
          QuarticFields::load(buffers_.missed + bases_[level] + group, buffers_.n_nodes);
      if (missed.empty()) continue;
      add(missed, level - 1, kFanOut * group, kFanOut * (group + 1));
      miss_nothing(level, group);
    }
  }

  // Passes over the groups that begin here and rest as a whole.
  WKM_ALWAYS_INLINE std::size_t behind_groups(double limit, std::size_t block) const {
    for (;;) {
      std::size_t size = 1;
      std::size_t node = block;
      for (std::size_t level = 1; level < kLevels && node % kFanOut == 0; ++level) {
        node /= kFanOut;
        if (node >= ends_[level] || !(buffers_.bounds[bases_[level] + node] > limit)) break;
        size *= kFanOut;
      }
      if (size == 1) return block;
      block += size;
    }
  }

  const Buffers buffers_;
  std::size_t bases_[kLevels] = {};
  std::size_t ends_[kLevels] = {};  // of the blocks that are full, and of the groups at each level
  std::size_t n_grouped_ = 0;       // blocks, the oldest ones
  std::size_t first_ = 0;
};

}  // namespace wkmeans
