#include "cpu/lagrangian/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/intervals/bounds.h"
#include "math/item_cost.h"

namespace wkmeans {
namespace {

// Whether points [begin, end) can be cut further.
bool may_hold_boundary(const Points& points, std::size_t begin, std::size_t end) {
  return end - begin > 1 || points.is_divisible(begin);
}

// `cell_of(v, begin, end)`: the moments of cell v.
template <class Moments, class CellOf>
void fill_cells(Grid<Moments>& grid, const Parallel& parallel, CellOf&& cell_of) {
  constexpr std::int64_t kCellsPerTask = 4096;  // beside which starting a thread is little
  const auto n = static_cast<std::int64_t>(grid.borders.size() - 1);
  grid.cells.resize(static_cast<std::size_t>(n));
  parallel.run((n + kCellsPerTask - 1) / kCellsPerTask, [&](std::int64_t task) {
    const std::int64_t end = std::min(n, (task + 1) * kCellsPerTask);
    for (std::int64_t v = task * kCellsPerTask; v < end; ++v) {
      const auto cell = static_cast<std::size_t>(v);
      grid.cells[cell] = cell_of(cell, grid.borders[cell], grid.borders[cell + 1]);
    }
  });
}

template <class Moments>
void fill_cells(const Pyramid<Moments>& pyramid, Grid<Moments>& grid, const Parallel& parallel) {
  fill_cells(grid, parallel, [&](std::size_t, std::size_t begin, std::size_t end) {
    return pyramid.range(begin, end);
  });
}

double quartic_mass_of(const QuadraticMoments&) { return 0.0; }
double quartic_mass_of(const QuarticMoments& m) { return m.quartic.mass; }

// A pinned point says where a centroid is, not where many are needed.
template <class Moments>
Moments moments_beside_pin(const Points& points, const Pyramid<Moments>& pyramid, std::size_t begin,
                           std::size_t end) {
  if (points.pin < begin || end <= points.pin) return pyramid.range(begin, end);
  return merge(pyramid.range(begin, points.pin), pyramid.range(points.pin + 1, end));
}

// How many of the cells each of the pyramid's leaves needs, in proportion.
template <class Moments>
std::vector<double> measures_of_leaves(const Points& points, const Pyramid<Moments>& pyramid,
                                       const Parallel& parallel) {
  const std::size_t n = points.size();
  const std::size_t leaf = pyramid.leaf();
  std::vector<double> measures((n + leaf - 1) / leaf);
  const auto measure_leaf = [&](std::size_t i) {
    const std::size_t begin = i * leaf;
    const std::size_t end = std::min(n, begin + leaf);
    const Moments moments = end - begin < leaf || points.pin / leaf == i
                                ? moments_beside_pin(points, pyramid, begin, end)
                                : pyramid.node(0, i);
    const double width = points.high(std::min(end, n - 1)) - points.low(begin);
    return std::cbrt(cost_within(width, moments.quadratic.mass, quartic_mass_of(moments)));
  };
  for_each_chunk(parallel, static_cast<std::int64_t>(measures.size()),
                 [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i)
                     measures[static_cast<std::size_t>(i)] =
                         measure_leaf(static_cast<std::size_t>(i));
                 });
  return measures;
}

// What splitting an open cell between its neighbours' centroids can gain over leaving it whole.
template <class Moments>
double open_gain(const Placement& placement, const Moments& cell, double width, double half_gap) {
  const double one_boundary = split_gain(cell, width, half_gap);
  // More: a cluster of the optimum lies inside the cell and can take all of it. No point is further
  // than the width from a centroid among them: where that says enough no root is looked for.
  const double more = cost_within(width, cell.quadratic.mass, quartic_mass_of(cell));
  if (more <= one_boundary && !placement.grid()) return one_boundary;
  return std::max(one_boundary, placement.cost(cell));
}

// Cuts groups of points into cells of about equal share of the measure.
std::vector<std::size_t> borders_of_equal_share(const Points& points,
                                                const std::vector<double>& measures,
                                                std::size_t group_size, std::size_t n_cells) {
  const std::size_t n = points.size();
  double total = 0.0;
  for (const double share : measures) total += share;
  const double share_per_cell = total / static_cast<double>(n_cells);
  std::vector<std::size_t> borders{0};
  double share = 0.0;
  const auto cut = [&](std::size_t border) {
    if (border > borders.back() && border < n) borders.push_back(border);
    share = 0.0;
  };
  for (std::size_t g = 0; g < measures.size(); ++g) {
    const std::size_t begin = g * group_size;
    const bool holds_pin =
        points.pin / group_size == g;  // alone in a cell, lest it outweigh the others
    if (share + measures[g] > share_per_cell || holds_pin) cut(begin);
    share += measures[g];
    if (measures[g] > share_per_cell ||
        holds_pin) {  // too much for a cell: one for each of its points
      for (std::size_t i = begin + 1; i <= begin + group_size; ++i) cut(i);
    }
  }
  borders.push_back(n);
  return borders;
}

// Whether a boundary may lie inside the point or on either side of it.
bool is_in_zone(const Points& points, std::size_t i) {
  return points.is_divisible(i) || points.low(i) == points.high(i);
}

void cut_zone(std::size_t begin, std::size_t end, std::vector<Positions>& cuts) {
  constexpr std::size_t kParts = 8;
  const std::size_t n_parts = std::min(kParts, end - begin);
  for (std::size_t part = 0; part < n_parts; ++part) {
    const std::size_t at = begin + (end - begin) * part / n_parts;
    cuts.push_back({at, at});
  }
}

}  // namespace

template <class Moments>
bool Grid<Moments>::is_exact() const {
  return std::none_of(open.begin(), open.end(), [](bool is_open) { return is_open; });
}

template <class Moments>
Grid<Moments> measured_grid(const Points& points, const Pyramid<Moments>& pyramid,
                            std::size_t n_cells, const Parallel& parallel) {
  std::vector<double> measures = measures_of_leaves(points, pyramid, parallel);
  Grid<Moments> grid;
  grid.borders = borders_of_equal_share(points, measures, pyramid.leaf(), n_cells);
  // A few weights may hold all of the measure; the others need cells too.
  if (grid.borders.size() <= n_cells / 4) {
    std::fill(measures.begin(), measures.end(), 1.0);
    grid.borders = borders_of_equal_share(points, measures, pyramid.leaf(), n_cells);
  }
  fill_cells(pyramid, grid, parallel);
  grid.half_gaps.assign(grid.size(), std::numeric_limits<double>::infinity());
  for (std::size_t v = 0; v < grid.size(); ++v) {
    grid.open.push_back(may_hold_boundary(points, grid.borders[v], grid.borders[v + 1]));
  }
  return grid;
}

template <class Moments>
Grid<Moments> exact_grid(const Pyramid<Moments>& pyramid, std::size_t n_points,
                         const std::vector<Positions>& zones, const Parallel& parallel) {
  Grid<Moments> grid;
  grid.borders.push_back(0);
  for (const Positions& zone : zones) {
    for (std::size_t position = zone.first; position <= zone.last; ++position)
      grid.borders.push_back(position);
  }
  grid.borders.push_back(n_points);
  grid.open.assign(grid.borders.size() - 1, false);
  fill_cells(pyramid, grid, parallel);
  return grid;
}

template <class Moments>
Grid<Moments> zoned_grid(const Points& points, const Pyramid<Moments>& pyramid,
                         const std::vector<std::size_t>& boundaries, const Parallel& parallel) {
  const std::size_t n = points.size();
  std::vector<Positions> cuts;
  for (std::size_t begin = 0; begin < n;) {
    std::size_t end = begin + 1;
    if (is_in_zone(points, begin)) {
      while (end < n && is_in_zone(points, end)) ++end;
    }
    cut_zone(begin, end, cuts);
    begin = end;
  }
  for (const std::size_t boundary : boundaries) cuts.push_back({boundary, boundary});
  const auto before = [](const Positions& a, const Positions& b) { return a.first < b.first; };
  const auto same = [](const Positions& a, const Positions& b) { return a.first == b.first; };
  std::sort(cuts.begin(), cuts.end(), before);
  cuts.erase(std::unique(cuts.begin(), cuts.end(), same), cuts.end());
  cuts.erase(cuts.begin());  // the first cell begins at 0 anyway
  Grid<Moments> grid = exact_grid(pyramid, n, cuts, parallel);
  grid.half_gaps.assign(grid.size(), std::numeric_limits<double>::infinity());
  for (std::size_t v = 0; v < grid.size(); ++v) {
    const std::size_t begin = grid.borders[v];
    grid.open[v] = grid.borders[v + 1] - begin > 1 || points.is_divisible(begin);
  }
  return grid;
}

template <class Moments>
std::vector<double> split_gains(const Points& points, const Placement& placement,
                                const Grid<Moments>& grid) {
  std::vector<double> gains(grid.size(), 0.0);
  for (std::size_t v = 0; v < grid.size(); ++v) {
    if (!grid.open[v]) continue;
    const double width = points.high(grid.borders[v + 1] - 1) - points.low(grid.borders[v]);
    gains[v] = open_gain(placement, grid.cells[v], width, grid.half_gaps[v]);
  }
  return gains;
}

template <class Moments>
Grid<Moments> refined_grid(const Points& points, const Pyramid<Moments>& pyramid,
                           const Grid<Moments>& grid, const Verdict& verdict,
                           const std::vector<std::size_t>& boundaries, const Parallel& parallel) {
  Grid<Moments> fine;
  fine.borders.push_back(0);
  std::vector<std::size_t> from;  // the cell that holds the end of each of the new ones
  double half_gap = 0.0;          // a part's is bounded by that of the whole
  const auto cut = [&](std::size_t border, std::size_t cell, bool open) {
    if (border == fine.borders.back()) return;
    fine.open.push_back(open && may_hold_boundary(points, fine.borders.back(), border));
    fine.half_gaps.push_back(half_gap);
    from.push_back(cell);
    fine.borders.push_back(border);
  };
  auto boundary = boundaries.begin();
  for (std::size_t v = 0; v < grid.size(); ++v) {
    const std::size_t begin = grid.borders[v];
    const std::size_t end = grid.borders[v + 1];
    const bool open = grid.open[v] && (verdict.alive[v] || verdict.alive[v + 1]);
    half_gap = grid.half_gaps[v];
    if (open) {
      const std::size_t parts = std::min(verdict.n_parts[v], end - begin);
      for (std::size_t part = 1; part <= parts; ++part) {
        const std::size_t border = begin + (end - begin) * part / parts;
        while (boundary != boundaries.end() && *boundary <= fine.borders.back()) ++boundary;
        for (; boundary != boundaries.end() && *boundary < border; ++boundary)
          cut(*boundary, v, true);
        cut(border, v, true);
      }
      continue;
    }
    const bool next_open =
        v + 1 < grid.size() && grid.open[v + 1] && (verdict.alive[v + 1] || verdict.alive[v + 2]);
    // Of the cells that are fused each has its own, which bounds nothing at the others.
    half_gap = std::numeric_limits<double>::infinity();
    if (v + 1 == grid.size() || verdict.alive[v + 1] || next_open) cut(end, v, false);
  }
  fill_cells(fine, parallel, [&](std::size_t cell, std::size_t begin, std::size_t end) {
    const std::size_t whole = from[cell];
    const bool unchanged = begin == grid.borders[whole] && end == grid.borders[whole + 1];
    return unchanged ? grid.cells[whole] : pyramid.range(begin, end);
  });
  return fine;
}

template <class Moments>
std::vector<Positions> open_zones(const Grid<Moments>& grid, const std::vector<bool>& alive) {
  std::vector<Positions> zones;
  const auto add = [&](std::size_t first, std::size_t last) {
    if (!zones.empty() && first <= zones.back().last) {
      zones.back().last = std::max(zones.back().last, last);
    } else {
      zones.push_back({first, last});
    }
  };
  for (std::size_t v = 0; v < grid.size(); ++v) {
    if (v > 0 && alive[v]) add(grid.borders[v], grid.borders[v]);
    if (grid.open[v] && (alive[v] || alive[v + 1]))
      add(grid.borders[v] + 1, grid.borders[v + 1] - 1);
  }
  return zones;
}

#define WKM_INSTANTIATE(Moments)                                                                   \
  template struct Grid<Moments>;                                                                   \
  template Grid<Moments> measured_grid(const Points&, const Pyramid<Moments>&, std::size_t,        \
                                       const Parallel&);                                           \
  template Grid<Moments> exact_grid(const Pyramid<Moments>&, std::size_t,                          \
                                    const std::vector<Positions>&, const Parallel&);               \
  template Grid<Moments> zoned_grid(const Points&, const Pyramid<Moments>&,                        \
                                    const std::vector<std::size_t>&, const Parallel&);             \
  template std::vector<double> split_gains(const Points&, const Placement&, const Grid<Moments>&); \
  template Grid<Moments> refined_grid(const Points&, const Pyramid<Moments>&,                      \
                                      const Grid<Moments>&, const Verdict&,                        \
                                      const std::vector<std::size_t>&, const Parallel&);           \
  template std::vector<Positions> open_zones(const Grid<Moments>&, const std::vector<bool>&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
