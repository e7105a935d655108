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
  std::uint16_t column;
  std::uint16_t first, last;  // at least from the first to the last that tie
  std::uint16_t tag;          // of a piece of a row: see SmallLayers::solve_pieces
};

// Rows of the layer that is solved, indexed by how many points they cover.
struct SmallLayerRows {
  double* previous;  // costs with one cluster less
  double* best;
  std::uint16_t* first_before;  // ties of the layer before
  std::uint16_t* first;         // ascending, as far as known
  std::uint16_t* last;
  SmallCut* heads;  // one a lane
  SmallCut* tails;
  std::uint16_t* columns;  // the cuts of every layer from the second, a row after another
};

// The optimum by layers: best[i] = min over p of previous[p] + cost of points [p, i). The interval
// costs are Monge, so a row's best cut lies between those of rows before and after it, and not
// before that of the same row a layer earlier. Row n is solved first, then all rows at odd
// multiples of a stride that halves.
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
  // Rows layer + first, then every 2 * stride; those `stride` before and after each are known.
  struct Level {
    int layer, first, count, stride;
  };

  struct Span {
    int first, last;
  };

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
      intervals_.visit_starts(row, 0, 0, [&](int, double cost) {
        rows_.best[row] = cost;
        return true;
      });
    });
  }

  WKM_HD void next_layer(int layer, bool is_last) {
    const int n_rows = n_ - layer + 1;
    solve_level({layer, n_rows - 1, 1, 1});
    if (is_last) return;
    for (int stride = 1 << (bit_length(static_cast<unsigned>(n_rows)) - 1); stride > 0;
         stride >>= 1) {
      const int count = (n_rows - 1 + stride) / (2 * stride);
      if (count > 0) solve_level({layer, stride - 1, count, stride});
    }
  }

  WKM_HD void solve_level(const Level& level) {
    const int begin = start_of(level, 0);
    const int end = end_of(level, level.count - 1);
    const int share = (end - begin + team_.size() - 1) / team_.size();
    team_.phase([&](int lane) {
      rows_.heads[lane].tag = rows_.tails[lane].tag = 0;
      const int from = begin + lane * share;
      const int to = smaller(from + share, end);
      if (from < to) solve_pieces(level, begin, share, lane, from, to);
    });
    join_pieces(level);
  }

  // The columns of all rows of a level, one row after another, are what lanes share equally: the
  // columns that row q may be cut at start at place first + q, and overlap those of the next row by
  // one, unless there are ties. Lanes that begin and end inside rows leave pieces.
  WKM_HD void solve_pieces(const Level& level, int begin, int share, int lane, int from, int to) {
    for (int q = row_at(level, from); q < level.count && start_of(level, q) < to; ++q) {
      const Span span = span_of(level, q);
      const int start = start_of(level, q);
      const bool ends_here = end_of(level, q) <= to;
      const int last = ends_here ? span.last : smaller(to - 1 - q, span.last);
      SmallCut cut = best_cut(row_of(level, q), {larger(from, start) - q, last}, span.last);
      if (start < from) {  // a head is tagged with how many lanes ago its row starts
        cut.tag = static_cast<std::uint16_t>(lane - (start - begin) / share);
        rows_.heads[lane] = cut;
      } else if (!ends_here) {  // a tail with its row, counted from one
        cut.tag = static_cast<std::uint16_t>(q + 1);
        rows_.tails[lane] = cut;
      } else {
        keep(level, q, cut);
      }
    }
  }

  // Rows in pieces are put together at their tails, always in the same order.
  WKM_HD void join_pieces(const Level& level) {
    constexpr int kAtOnce = 8;
    for (int reach = 1; reach < team_.size(); reach *= kAtOnce) {
      const bool is_last = reach * kAtOnce >= team_.size();
      team_.phase([&](int lane) {
        const auto join = [&](SmallCut& cut, int n_before) {
          for (int i = reach; i < kAtOnce * reach && lane + i < team_.size(); i += reach) {
            const SmallCut& piece = rows_.heads[lane + i];
            if (piece.tag != n_before + i) return;
            cut = better(cut, piece);
          }
        };
        SmallCut& head = rows_.heads[lane];
        SmallCut& tail = rows_.tails[lane];
        if (head.tag > 0 && head.tag % (kAtOnce * reach) == 0) join(head, head.tag);
        if (tail.tag == 0) return;
        join(tail, 0);
        if (is_last) keep(level, tail.tag - 1, tail);
      });
    }
  }

  static WKM_HD int row_of(const Level& level, int q) {
    return level.layer + level.first + q * 2 * level.stride;
  }

  WKM_HD int first_of(const Level& level, int q) const {
    const int row = row_of(level, q);
    const int first = larger(level.layer - 1, rows_.first_before[row]);
    const bool has_left = row < n_ && row - level.stride >= level.layer;
    return has_left ? larger(first, rows_.first[row - level.stride]) : first;
  }

  WKM_HD Span span_of(const Level& level, int q) const {
    const int row = row_of(level, q);
    const int last =
        row < n_ ? smaller(row - 1, rows_.last[smaller(n_, row + level.stride)]) : row - 1;
    return {first_of(level, q), last};
  }

  WKM_HD int start_of(const Level& level, int q) const { return first_of(level, q) + q; }
  WKM_HD int end_of(const Level& level, int q) const {
    if (q + 1 < level.count) return start_of(level, q + 1);
    const Span span = span_of(level, q);
    return larger(span.first, span.last) + q + 1;
  }

  // The last row that starts at or before a place.
  WKM_HD int row_at(const Level& level, int place) const {
    int low = 0;
    for (int count = level.count; count > 1;) {
      const int half = count / 2;
      const bool is_right = start_of(level, low + half) <= place;
      low = is_right ? low + half : low;
      count = is_right ? count - half : half;
    }
    return low;
  }

  // Where no column is left, or costs lie beyond what a double holds, the cut is at `otherwise`.
  WKM_HD SmallCut best_cut(int row, const Span& span, int otherwise) const {
    const auto nowhere = static_cast<std::uint16_t>(otherwise);
    SmallCut cut{HUGE_VAL, nowhere, nowhere, nowhere, 0};
    intervals_.visit_starts(row, span.last, span.first, [&](int column, double interval_cost) {
      if (interval_cost > cut.cost * tie_) return false;  // wider ones cost more still
      const double cost = rows_.previous[column] + interval_cost;
      const auto at = static_cast<std::uint16_t>(column);
      if (cost * tie_ < cut.cost) cut.last = at;
      if (cost <= cut.cost * tie_) cut.first = at;
      if (cost <= cut.cost) {
        cut.cost = cost;
        cut.column = at;
      }
      return true;
    });
    return cut;
  }

  WKM_HD SmallCut better(const SmallCut& a, const SmallCut& b) const {
    const bool a_wins = a.cost < b.cost || (a.cost == b.cost && a.column < b.column);
    SmallCut cut = a_wins ? a : b;
    const SmallCut& other = a_wins ? b : a;
    if (other.cost <= cut.cost * tie_) {
      cut.first = cut.first < other.first ? cut.first : other.first;
      cut.last = cut.last > other.last ? cut.last : other.last;
    }
    cut.tag = a.tag;
    return cut;
  }

  // First ties ascend from row to row, so that places do.
  WKM_HD void keep(const Level& level, int q, const SmallCut& cut) {
    const int row = row_of(level, q);
    std::uint16_t first = cut.first;
    if (row < n_) {
      const std::uint16_t after = rows_.first[smaller(n_, row + level.stride)];
      first = first < after ? first : after;
    }
    rows_.best[row] = cut.cost;
    rows_.first[row] = first;
    rows_.last[row] = cut.last;
    columns(level.layer)[row] = cut.column;
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
