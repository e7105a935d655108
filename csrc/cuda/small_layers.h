#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/small_intervals.h"
#include "cuda/small_team.h"
#include "math/rounding.h"

namespace wkmeans::cuda {

// The best last cut of some candidates. Those that tie with it within rounding all count: the cost
// of a heavy prefix says nothing about where a light one, decades below its last digit, is best
// cut.
struct SmallCut {
  double cost;
  int column;
  int first, last;  // at least from the first to the last that tie
};

// Rows of the layer that is solved, indexed by how many points they cover.
struct SmallLayerRows {
  double* previous;  // costs with one cluster less
  double* best;
  std::uint16_t* first_before;  // ties of the layer before
  std::uint16_t* first;
  std::uint16_t* last;
  SmallCut* cuts;          // one a lane
  std::uint16_t* columns;  // the cuts of every layer from the second, a row after another
};

// The optimum by layers: best[i] = min over p of previous[p] + cost of points [p, i). The interval
// costs are Monge, so a row's best cut lies between those of rows before and after it, and not
// before that of the same row a layer earlier. Rows are solved in order of their distance from
// those known: each halving is one step of the team.
template <class Team, class Intervals>
class SmallLayers {
public:
  WKM_HD SmallLayers(Team& team, const Intervals& intervals, const SmallLayerRows& rows)
      : team_(team),
        intervals_(intervals),
        rows_(rows),
        n_(intervals.n_points()),
        tie_(1.0 + rounding_slack(static_cast<std::size_t>(n_))) {}

  // The cost of n_points > k points in k clusters; cluster j ends before ends[j].
  WKM_HD double solve(int k, std::uint16_t* ends) {
    first_layer(k == 1 ? n_ : 1);
    for (int layer = 2; layer <= k; ++layer) {
      exchange(rows_.previous, rows_.best);
      exchange(rows_.first_before, rows_.first);
      next_layer(layer, layer == k);
    }
    team_.phase([&](int lane) {
      if (lane == 0) trace_back(k, ends);
    });
    return rows_.best[n_];
  }

private:
  template <class Value>
  static WKM_HD void exchange(Value*& a, Value*& b) {
    Value* const value = a;
    a = b;
    b = value;
  }

  WKM_HD void first_layer(int first_row) {
    for_each(team_, n_ - first_row + 1, [&](int i) {
      const int row = first_row + i;
      rows_.first[row] = 0;
      intervals_.visit_starts(row, 0, 0, 1, [&](int, double cost) {
        rows_.best[row] = cost;
        return true;
      });
    });
  }

  // Row n first, then every row at an odd multiple of a stride that halves.
  WKM_HD void next_layer(int layer, bool is_last) {
    const int n_rows = n_ - layer + 1;
    solve_rows(layer, {n_rows - 1, 1, 1});
    if (is_last) return;
    for (int stride = 1 << (bit_length(static_cast<unsigned>(n_rows)) - 1); stride > 0;
         stride >>= 1) {
      const int n_inner = (n_rows - 1 + stride) / (2 * stride);
      if (n_inner > 0) solve_rows(layer, {stride - 1, n_inner, stride});
    }
  }

  // Rows first, first + 2 stride, ... counted from the layer's first.
  struct Rows {
    int first, count, stride;
  };

  struct Span {
    int first, last;
  };

  WKM_HD void solve_rows(int layer, const Rows& rows) {
    const int group = at_least_one(team_.size() / rows.count);
    for_each(team_, rows.count * group, [&](int task) {
      const int row = layer + rows.first + task / group * 2 * rows.stride;
      const SmallCut cut = best_cut(row, columns_of(layer, row, rows.stride), task % group, group);
      if (group == 1) {
        keep(layer, row, cut);
      } else {
        rows_.cuts[task] = cut;
      }
    });
    if (group == 1) return;
    reduce_groups(team_, rows_.cuts, group, rows.count,
                  [&](SmallCut& cut, const SmallCut& other) { cut = better(cut, other); });
    for_each(team_, rows.count, [&](int i) {
      keep(layer, layer + rows.first + i * 2 * rows.stride, rows_.cuts[i * group]);
    });
  }

  // Where a row's best cut can lie, rows `stride` before and after it being known.
  WKM_HD Span columns_of(int layer, int row, int stride) const {
    Span span{larger(layer - 1, rows_.first_before[row]), row - 1};
    if (row < n_) {
      if (row - stride >= layer) span.first = larger(span.first, rows_.first[row - stride]);
      span.last = smaller(span.last, rows_.last[smaller(n_, row + stride)]);
    }
    // Costs beyond what a double holds order nothing.
    span.first = smaller(span.first, span.last);
    return span;
  }

  WKM_HD SmallCut best_cut(int row, const Span& span, int lane, int n_lanes) const {
    SmallCut cut{HUGE_VAL, span.last, span.last, span.last};
    intervals_.visit_starts(row, span.last - lane, span.first, n_lanes,
                            [&](int column, double interval_cost) {
                              if (interval_cost > cut.cost * tie_) return false;  // so are wider
                              const double cost = rows_.previous[column] + interval_cost;
                              if (cost * tie_ < cut.cost) cut.last = column;
                              if (cost <= cut.cost * tie_) cut.first = column;
                              if (cost <= cut.cost) {
                                cut.cost = cost;
                                cut.column = column;
                              }
                              return true;
                            });
    return cut;
  }

  WKM_HD SmallCut better(const SmallCut& a, const SmallCut& b) const {
    const bool a_wins = a.cost < b.cost || (a.cost == b.cost && a.column < b.column);
    SmallCut cut = a_wins ? a : b;
    const SmallCut other = a_wins ? b : a;
    if (other.cost <= cut.cost * tie_) {
      cut.first = smaller(cut.first, other.first);
      cut.last = larger(cut.last, other.last);
    }
    return cut;
  }

  WKM_HD void keep(int layer, int row, const SmallCut& cut) {
    rows_.best[row] = cut.cost;
    rows_.first[row] = static_cast<std::uint16_t>(cut.first);
    rows_.last[row] = static_cast<std::uint16_t>(cut.last);
    columns(layer)[row] = static_cast<std::uint16_t>(cut.column);
  }

  WKM_HD void trace_back(int k, std::uint16_t* ends) const {
    ends[k - 1] = static_cast<std::uint16_t>(n_);
    for (int layer = k; layer > 1; --layer) ends[layer - 2] = columns(layer)[ends[layer - 1]];
  }

  WKM_HD std::uint16_t* columns(int layer) const {
    return rows_.columns + static_cast<std::ptrdiff_t>(layer - 2) * (n_ + 1);
  }

  Team& team_;
  const Intervals& intervals_;
  SmallLayerRows rows_;
  int n_;
  double tie_;
};

}  // namespace wkmeans::cuda
