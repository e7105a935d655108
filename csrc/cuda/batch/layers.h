#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/batch/intervals.h"
#include "cuda/batch/team.h"
#include "math/rounding.h"

namespace wkmeans::cuda {

// The best last cut of some candidates. Those that tie with it within rounding all count: the cost
// of a heavy prefix says nothing about where a light one, decades below its last digit, is best
// cut.
struct TeamCut {
  double cost;
  std::uint16_t column;
  std::uint16_t first, last;  // at least from the first to the last that tie
  std::uint16_t tag;          // of a piece of a row: see TeamLayers::solve_pieces
};

// Rows of the layer that is solved, indexed by how many points they cover.
struct TeamLayerRows {
  double* previous;  // costs with one cluster less
  double* best;
  std::uint16_t* first_before;  // ties of the layer before
  std::uint16_t* first;         // ascending, as far as known
  std::uint16_t* last;
  TeamCut* heads;  // one a lane
  TeamCut* tails;
  std::uint16_t* columns;  // the cuts of every layer from the second, a row after another
};

// The optimum by layers: best[i] = min over p of previous[p] + cost of points [p, i). The interval
// costs are Monge, so a row's best cut lies between those of rows before and after it, and not
// before that of the same row a layer earlier. Row n is solved first; then the gaps between known
// rows are closed by a few rows each, gap after gap at once, until there are none.
template <class Team, class Intervals>
class TeamLayers {
public:
  WKM_HD TeamLayers(Team& team, const Intervals& intervals, const TeamLayerRows& rows)
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
  // Gaps, one after another from row layer - 1 on; each has `n_inner` rows to solve, `stride`
  // apart, but for those from row `end` on. The rows around a gap are known, if they are any.
  struct Level {
    int layer, n_gaps, n_inner, stride, end;
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
    constexpr int kLogRows = 2;  // a gap becomes so many: fewer steps of the team, more columns
    const int n_rows = n_ - layer + 1;
    solve_level({layer, 1, 1, n_rows, n_ + 1});
    if (is_last) return;
    const int n_levels = (bit_length(static_cast<unsigned>(n_rows)) + kLogRows - 1) / kLogRows;
    for (int log_stride = (n_levels - 1) * kLogRows; log_stride >= 0; log_stride -= kLogRows) {
      const int stride = 1 << log_stride;
      const int gap = stride << kLogRows;
      const int n_gaps = (n_rows - stride + gap - 1) / gap;  // that have a row before the last
      if (n_gaps > 0) solve_level({layer, n_gaps, (1 << kLogRows) - 1, stride, n_});
    }
  }

  WKM_HD void solve_level(const Level& level) {
    const int begin = start_of(level, 0);
    const int last_gap = level.n_gaps - 1;
    const int end = start_of(level, last_gap) + level.n_inner * width_of(level, last_gap);
    const int share = (end - begin + team_.size() - 1) / team_.size();
    team_.phase([&](int lane) {
      rows_.heads[lane].tag = rows_.tails[lane].tag = 0;
      const int from = begin + lane * share;
      const int to = smaller(from + share, end);
      if (from < to) solve_pieces(level, begin, share, lane, from, to);
    });
    join_pieces(level);
    if (level.end <= n_) {
      for_each(team_, level.n_gaps, [&](int gap) { order_ties(level, gap); });
    }
  }

  // The columns of all rows of a level, one row after another, are what lanes share equally. Rows
  // of a gap take `width_of` places each; the columns of the next gap overlap theirs by one, or
  // more where there are ties. Lanes that begin and end inside rows leave pieces.
  WKM_HD void solve_pieces(const Level& level, int begin, int share, int lane, int from, int to) {
    int gap = gap_at(level, from);
    int width = width_of(level, gap);
    int inner = 0;
    int start = start_of(level, gap);
    while (start + width <= from) {
      start += width;
      ++inner;
    }
    while (start < to) {
      const int row = row_of(level, gap, inner);
      const bool ends_here = start + width <= to;
      if (row < level.end) {
        const int first = first_of(level, gap);
        const int last_of_row = last_of(level, gap, row);
        const int last = ends_here ? last_of_row : smaller(first + (to - 1 - start), last_of_row);
        const int least = larger(first + (larger(from, start) - start), rows_.first_before[row]);
        TeamCut cut = best_cut(row, {least, last}, last_of_row);
        if (start < from) {  // a head is tagged with how many lanes ago its row starts
          cut.tag = static_cast<std::uint16_t>(lane - (start - begin) / share);
          rows_.heads[lane] = cut;
        } else if (!ends_here) {  // a tail with its row
          cut.tag = static_cast<std::uint16_t>(row);
          rows_.tails[lane] = cut;
        } else {
          keep(level.layer, row, cut);
        }
      }
      start += width;
      if (++inner == level.n_inner) {
        inner = 0;
        if (++gap < level.n_gaps) width = width_of(level, gap);
      }
    }
  }

  // Rows in pieces are put together at their tails, always in the same order.
  WKM_HD void join_pieces(const Level& level) {
    constexpr int kAtOnce = 8;
    for (int reach = 1; reach < team_.size(); reach *= kAtOnce) {
      const bool is_last = reach * kAtOnce >= team_.size();
      team_.phase([&](int lane) {
        const auto join = [&](TeamCut& cut, int n_before) {
          for (int i = reach; i < kAtOnce * reach && lane + i < team_.size(); i += reach) {
            const TeamCut& piece = rows_.heads[lane + i];
            if (piece.tag != n_before + i) return;
            take_in(piece, cut);
          }
        };
        TeamCut& head = rows_.heads[lane];
        TeamCut& tail = rows_.tails[lane];
        if (head.tag > 0 && head.tag % (kAtOnce * reach) == 0) join(head, head.tag);
        if (tail.tag == 0) return;
        join(tail, 0);
        if (is_last) keep(level.layer, tail.tag, tail);
      });
    }
  }

  static WKM_HD int row_before(const Level& level, int gap) {
    return level.layer - 1 + gap * (level.n_inner + 1) * level.stride;
  }
  static WKM_HD int row_of(const Level& level, int gap, int inner) {
    return row_before(level, gap) + (inner + 1) * level.stride;
  }

  // The columns that rows of a gap may be cut at.
  WKM_HD int first_of(const Level& level, int gap) const {
    const int first = larger(level.layer - 1, rows_.first_before[row_of(level, gap, 0)]);
    return gap > 0 ? larger(first, rows_.first[row_before(level, gap)]) : first;
  }
  WKM_HD int last_of(const Level& level, int gap, int row) const {
    if (row == n_) return n_ - 1;
    return smaller(row - 1, rows_.last[smaller(n_, row_before(level, gap + 1))]);
  }

  WKM_HD int width_of(const Level& level, int gap) const {
    const int first = first_of(level, gap);
    if (gap + 1 < level.n_gaps) return first_of(level, gap + 1) - first + 1;
    const int row = smaller(n_, row_of(level, gap, level.n_inner - 1));
    return larger(0, last_of(level, gap, row) - first) + 1;
  }

  // The place of a gap's first column.
  WKM_HD int start_of(const Level& level, int gap) const {
    return level.n_inner * (first_of(level, gap) + gap);
  }

  // The last gap that starts at or before a place.
  WKM_HD int gap_at(const Level& level, int place) const {
    int low = 0;
    for (int count = level.n_gaps; count > 1;) {
      const int half = count / 2;
      const bool is_right = start_of(level, low + half) <= place;
      low = is_right ? low + half : low;
      count = is_right ? count - half : half;
    }
    return low;
  }

  // Where no column is left, or costs lie beyond what a double holds, the cut is at `otherwise`.
  WKM_HD TeamCut best_cut(int row, const Span& span, int otherwise) const {
    const auto nowhere = static_cast<std::uint16_t>(otherwise);
    TeamCut cut{HUGE_VAL, nowhere, nowhere, nowhere, 0};
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

  // Leaves the tag alone, which other lanes may be reading.
  WKM_HD void take_in(const TeamCut& other, TeamCut& cut) const {
    const bool is_better =
        other.cost < cut.cost || (other.cost == cut.cost && other.column < cut.column);
    const double least = is_better ? other.cost : cut.cost;
    const bool ties = (is_better ? cut.cost : other.cost) <= least * tie_;
    const bool is_first = ties ? other.first < cut.first : is_better;
    const bool is_last = ties ? other.last > cut.last : is_better;
    cut.cost = least;
    cut.column = is_better ? other.column : cut.column;
    cut.first = is_first ? other.first : cut.first;
    cut.last = is_last ? other.last : cut.last;
  }

  WKM_HD void keep(int layer, int row, const TeamCut& cut) {
    rows_.best[row] = cut.cost;
    rows_.first[row] = cut.first;
    rows_.last[row] = cut.last;
    columns(layer)[row] = cut.column;
  }

  // First ties are to ascend from row to row, so that places do.
  WKM_HD void order_ties(const Level& level, int gap) {
    std::uint16_t after = rows_.first[smaller(n_, row_before(level, gap + 1))];
    for (int inner = level.n_inner - 1; inner >= 0; --inner) {
      const int row = row_of(level, gap, inner);
      if (row >= n_) continue;
      after = rows_.first[row] < after ? rows_.first[row] : after;
      rows_.first[row] = after;
    }
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
  TeamLayerRows rows_;
  int n_;
  double tie_;
};

}  // namespace wkmeans::cuda
