#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/base/eight.h"
#include "cpu/base/interrupt.h"
#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"
#include "cpu/intervals/moment_columns.h"
#include "math/range.h"

namespace wkmeans {

// A sweep over cells with quadratic moments. Ends are taken up to eight at a time: the starts
// before the first of them, the anchor among them, are known, and an interval is one merge of what
// lies left of the anchor with what lies right of it. The best starts never fall from one end to
// the next (Lemma 2), so those of the last end bound what the others look at.
template <class Where>
class BlockSweep {
public:
  struct Buffers {
    double* lefts;  // moments of [p, anchor) for each start p, a column a field
    std::size_t stride;
    double* candidates;  // by start, for one end
    double* costs;       // potentials; infinite past those known
    std::uint32_t* previous;
  };

  // Returns the number of intervals looked at, at most a block's more than `budget`.
  static WKM_ALWAYS_INLINE double run(const QuadraticMoments* cells, std::size_t n,
                                      double multiplier, const double* discounts, double budget,
                                      Where where, Buffers buffers) {
    BlockSweep sweep(cells, multiplier, where, buffers);
    std::size_t last_end = 0;  // counted from the first behind the anchor
    double work = 0.0;
    InterruptionLooks looks;
    while (sweep.anchor_ < n && work <= budget) {
      last_end = std::min(last_end, n - 1 - sweep.anchor_);
      sweep.sum_cells(last_end + 1);
      sweep.sum_rights(last_end + 1);
      const Positions last = sweep.starts_of(last_end);
      sweep.find_best(last.last, last_end + 1);
      work += sweep.n_intervals(last);
      looks.after(work);
      const std::size_t settled = sweep.settle(last_end, discounts, n);
      sweep.advance(settled == last_end ? last.first : sweep.first_, settled);
      last_end = settled < last_end ? settled : std::min(2 * last_end + 1, Eight::kCount - 1);
    }
    return work;
  }

private:
  WKM_ALWAYS_INLINE BlockSweep(const QuadraticMoments* cells, double multiplier, Where where,
                               Buffers buffers)
      : cells_(cells), multiplier_(multiplier), where_(where), buffers_(buffers) {
    buffers_.costs[0] = 0.0;
    store_left({}, 0);
  }

  WKM_ALWAYS_INLINE QuadraticMoments left(std::size_t start) const {
    return QuadraticFields::load(buffers_.lefts + start, buffers_.stride);
  }
  WKM_ALWAYS_INLINE void store_left(const QuadraticMoments& moments, std::size_t start) const {
    QuadraticFields::store(moments, buffers_.lefts + start, buffers_.stride);
  }
  WKM_ALWAYS_INLINE QuadraticMoments right(std::size_t i) const {
    return QuadraticFields::load(rights_ + i, Eight::kCount);
  }
  WKM_ALWAYS_INLINE double cost_of(const QuadraticMoments& moments) const {
    const SecondMoments& m = moments.quadratic;
    return where_.cost_near(moments, m.origin + m.offset, m.second);
  }
  WKM_ALWAYS_INLINE std::size_t n_blocks() const { return (anchor_ - first_) / Eight::kCount + 1; }
  WKM_ALWAYS_INLINE double n_intervals(const Positions& last) const {
    return static_cast<double>(Eight::kCount * (n_blocks() + last.last - first_ + 1));
  }

  // Sums of L cells behind the anchor, L up to four, from each of the eight on.
  WKM_ALWAYS_INLINE QuadraticMoments sum(std::size_t n_cells, std::size_t from) const {
    return QuadraticFields::load(sums_[n_cells - 1] + from, kWidth);
  }

  WKM_ALWAYS_INLINE void sum_cells(std::size_t n_ends) {
    for (std::size_t i = 0; i < n_ends; ++i)
      QuadraticFields::store(cells_[anchor_ + i], sums_[0] + i, kWidth);
    for (std::size_t n_cells = 2; n_cells <= kMostSummed; ++n_cells) {
      const std::size_t first = n_cells / 2;
      const std::size_t n_lanes = (n_ends + Eight::kCount - 1) / Eight::kCount * Eight::kCount;
      WKM_INDEPENDENT
      for (std::size_t i = 0; i < n_lanes; ++i) {
        QuadraticFields::store(merge(sum(first, i), sum(n_cells - first, i + first)),
                               sums_[n_cells - 1] + i, kWidth);
      }
    }
  }

  // Of [anchor, anchor + 1 + i) for each of the ends.
  WKM_ALWAYS_INLINE void sum_rights(std::size_t n_ends) {
    for (std::size_t i = 0; i < kMostSummed; ++i)
      QuadraticFields::store(sum(i + 1, 0), rights_ + i, Eight::kCount);
    const QuadraticMoments four = sum(kMostSummed, 0);
    for (std::size_t i = kMostSummed; i < n_ends; ++i) {
      QuadraticFields::store(merge(four, sum(i + 1 - kMostSummed, kMostSummed)), rights_ + i,
                             Eight::kCount);
    }
  }

  // Of the starts behind the anchor.
  WKM_ALWAYS_INLINE void sum_lefts(std::size_t n_done) const {
    for (std::size_t i = 1; i < n_done; ++i) {
      const std::size_t n_cells = n_done - i;
      store_left(n_cells <= kMostSummed
                     ? sum(n_cells, i)
                     : merge(sum(n_cells - kMostSummed, i), sum(kMostSummed, n_done - kMostSummed)),
                 anchor_ + i);
    }
  }

  // Of the paths to an end, those that are shortest or tie with these within rounding.
  WKM_ALWAYS_INLINE Positions starts_of(std::size_t end) const {
    const QuadraticMoments rest = right(end);
    double* candidates = buffers_.candidates + first_;
    const std::size_t n_starts = Eight::kCount * n_blocks();
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < n_starts; ++i) {
      const std::size_t p = first_ + i;
      candidates[i] = buffers_.costs[p] + cost_of(merge(left(p), rest));
    }
    const double shortest = least_of(candidates, n_starts);
    const double lost = shortest + kTie * (std::fabs(shortest) + multiplier_);
    Positions starts{first_, anchor_};
    while (buffers_.candidates[starts.first] > lost) ++starts.first;
    while (buffers_.candidates[starts.last] > lost) --starts.last;
    return starts;
  }

  // The best starts before the anchor, or at it; of equal ones the first.
  WKM_ALWAYS_INLINE void find_best(std::size_t last_start, std::size_t n_ends) {
    const std::size_t width = (n_ends + Eight::kCount - 1) / Eight::kCount * Eight::kCount;
    Eight least = Eight::filled(kInfinity);
    Eight best = Eight::filled(0.0);
    for (std::size_t p = first_; p <= last_start; ++p) {
      const QuadraticMoments before = left(p);
      const double path = buffers_.costs[p];
      double candidates[Eight::kCount];
      WKM_INDEPENDENT
      for (std::size_t i = 0; i < width; ++i)
        candidates[i] = path + cost_of(merge(before, right(i)));
      const Eight offered(candidates);
      best.replace_where_less(offered, least, static_cast<double>(p));
      least.lower_to(offered);
    }
    least.store(least_);
    best.store(best_);
  }

  // Makes potentials of what no start behind the anchor can better: an edge from there costs
  // something, too. Returns the last end for which that is so; it is so for the first.
  WKM_ALWAYS_INLINE std::size_t settle(std::size_t last_end, const double* discounts,
                                       std::size_t n) const {
    double shortest_behind = kInfinity;
    std::size_t i = 0;
    while (true) {
      const std::size_t end = anchor_ + 1 + i;
      buffers_.previous[end] = static_cast<std::uint32_t>(best_[i]);
      buffers_.costs[end] = least_[i] + multiplier_ - (discounts && end < n ? discounts[end] : 0.0);
      shortest_behind = std::min(shortest_behind, buffers_.costs[end]);
      if (i == last_end || least_[i + 1] > shortest_behind) return i;
      ++i;
    }
  }

  // Moves the anchor to a settled end.
  WKM_ALWAYS_INLINE void advance(std::size_t first, std::size_t settled) {
    const QuadraticMoments done = right(settled);
    first_ = first;
    const std::size_t n_starts = Eight::kCount * n_blocks();
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < n_starts; ++i)
      store_left(merge(left(first_ + i), done), first_ + i);
    sum_lefts(settled + 1);
    anchor_ += settled + 1;
    store_left({}, anchor_);
  }

  const QuadraticMoments* cells_;
  const double multiplier_;
  const Where where_;
  const Buffers buffers_;
  std::size_t anchor_ = 0;
  std::size_t first_ = 0;  // of the starts that matter
  static constexpr std::size_t kMostSummed = 4;
  static constexpr std::size_t kWidth =
      Eight::kCount + kMostSummed;  // cells past the eighth are empty
  double sums_[kMostSummed][QuadraticFields::kCount * kWidth] = {};
  double rights_[QuadraticFields::kCount * Eight::kCount];
  double least_[Eight::kCount], best_[Eight::kCount];  // of each end
};

}  // namespace wkmeans
