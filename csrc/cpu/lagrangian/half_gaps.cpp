#include "cpu/lagrangian/half_gaps.h"

#include <algorithm>
#include <cmath>

#include "cpu/intervals/bounds.h"

namespace wkmeans {
namespace {

// Sums over a range of terms, which are not negative, as differences of sums from the first on:
// held in two doubles each. Where even those drown a light range in a heavy one, from the sums of
// aligned pairs, pairs of pairs and so on, which hold nothing else.
class RunningSums {
public:
  explicit RunningSums(std::size_t n) {
    terms_.reserve(n);
    sums_.reserve(n + 1);
    sums_.push_back({0.0, 0.0});
  }

  void add(double term) {
    const Sum& last = sums_.back();
    const double sum = last.sum + term;
    const double kept = sum - last.sum;
    const double lost = (last.sum - (sum - kept)) + (term - kept);
    sums_.push_back({sum, last.rest + lost});
    terms_.push_back(term);
  }

  double between(std::size_t begin, std::size_t end) const {
    constexpr double kDigits = 1e9;
    const auto n = static_cast<double>(end);
    const double difference =
        (sums_[end].sum - sums_[begin].sum) + (sums_[end].rest - sums_[begin].rest);
    if (difference > kDigits * (n * n * 0x1p-104) * sums_[end].sum) return difference;
    return sum_of_groups(begin, end);
  }

  // To be called once after the last term.
  void group() {
    levels_.clear();
    levels_.push_back(std::move(terms_));
    while (levels_.back().size() > 1) {
      const std::vector<double>& fine = levels_.back();
      std::vector<double> coarse(fine.size() / 2);
      for (std::size_t i = 0; i < coarse.size(); ++i) coarse[i] = fine[2 * i] + fine[2 * i + 1];
      levels_.push_back(std::move(coarse));
    }
  }

private:
  struct Sum {
    double sum, rest;
  };

  double sum_of_groups(std::size_t begin, std::size_t end) const {
    double sum = 0.0;
    for (std::size_t level = 0; begin < end; ++level, begin /= 2, end /= 2) {
      if (begin % 2 == 1) sum += levels_[level][begin++];
      if (end % 2 == 1 && begin < end) sum += levels_[level][--end];
    }
    return sum;
  }

  std::vector<Sum> sums_;
  std::vector<double> terms_;
  std::vector<std::vector<double>> levels_;  // level l: sums of aligned groups of 2^l terms
};

// Of a range of cells.
struct Masses {
  double importance, quartic_importance;
};

template <class Moments>
class RunningMasses {
public:
  explicit RunningMasses(const std::vector<Moments>& cells)
      : importance_(cells.size()), quartic_importance_(Moments::kQuartic ? cells.size() : 0) {
    for (const Moments& cell : cells) {
      importance_.add(cell.quadratic.mass);
      if constexpr (Moments::kQuartic) quartic_importance_.add(cell.quartic.mass);
    }
    importance_.group();
    quartic_importance_.group();
  }

  Masses between(std::size_t begin, std::size_t end) const {
    return {importance_.between(begin, end),
            Moments::kQuartic ? quartic_importance_.between(begin, end) : 0.0};
  }

private:
  RunningSums importance_, quartic_importance_;
};

// Of the centroids around a cell, from the points within `radius` of it. A zero importance bounds
// nothing.
double widest_half_gap(double radius, const Masses& masses, double worth) {
  const double quadratic = quadratic_half_gap(radius, worth / masses.importance);
  if (masses.quartic_importance == 0.0) return quadratic;
  const double quartic = quartic_half_gap(2.0 * radius, 2.0 * worth / masses.quartic_importance);
  return quadratic < quartic ? quadratic : quartic;
}

// Walks over the cells. Any radius gives a bound; the one that served a cell best is about right
// for the next few, too.
template <class Moments>
class HalfGaps {
public:
  HalfGaps(const std::vector<double>& lows, const std::vector<double>& highs,
           const RunningMasses<Moments>& masses, const Placement& placement, double worth,
           std::size_t first)
      : lows_(lows),
        highs_(highs),
        masses_(masses),
        placement_(placement),
        worth_(worth),
        begin_(first),
        end_(first) {}

  double around(std::size_t v) {
    constexpr int kCellsPerSearch = 4;
    begin_ = std::min(begin_, v);
    end_ = std::max(end_, v + 1);
    if (n_since_search_++ % kCellsPerSearch == 0) return search(v);
    return bound_within(v, std::max(radius_, highs_[v] - lows_[v]));
  }

private:
  double search(std::size_t v) {
    constexpr double kStep = 1.5;
    constexpr int kMostSteps = 64;
    const double width = highs_[v] - lows_[v];
    const double radius = std::max(radius_, width);
    double bound = bound_within(v, radius);
    const double wider = bound_within(v, radius * kStep);
    const bool grows = wider < bound;
    double best = radius;
    double next = grows ? radius * kStep : radius / kStep;
    double next_bound = grows ? wider : bound_within(v, next);
    for (int step = 0; step < kMostSteps && next_bound < bound; ++step) {
      bound = next_bound;
      best = next;
      next = grows ? next * kStep : next / kStep;
      if (next < width || 2.0 * next >= bound) break;
      next_bound = bound_within(v, next);
    }
    radius_ = best;
    return bound;
  }

  // From the cells of which every point lies within `reach` of every point of cell v.
  double bound_within(std::size_t v, double reach) {
    while (begin_ > 0 && highs_[v] - lows_[begin_ - 1] <= reach) --begin_;
    while (begin_ < v && highs_[v] - lows_[begin_] > reach) ++begin_;
    while (end_ < highs_.size() && highs_[end_] - lows_[v] <= reach) ++end_;
    while (end_ > v + 1 && highs_[end_ - 1] - lows_[v] > reach) --end_;
    // The centroid to add may have to stand up to half a step off the boundary.
    const double misplaced =
        0.25 * placement_.step_at(std::max(std::fabs(lows_[v]), std::fabs(highs_[v])));
    const double radius = std::max(highs_[v] - lows_[begin_], highs_[end_ - 1] - lows_[v]);
    return widest_half_gap(misplaced + radius, masses_.between(begin_, end_), worth_);
  }

  const std::vector<double>& lows_;
  const std::vector<double>& highs_;
  const RunningMasses<Moments>& masses_;
  const Placement& placement_;
  double worth_;
  double radius_ = 0.0;
  int n_since_search_ = 0;
  std::size_t begin_, end_;  // the cells that bound the last one
};

}  // namespace

template <class Moments>
void bound_half_gaps(const Points& points, const Placement& placement, double worth,
                     const Parallel& parallel, Grid<Moments>& grid) {
  constexpr std::int64_t kCellsPerTask = 4096;
  const std::size_t n = grid.size();
  const RunningMasses<Moments> masses(grid.cells);
  std::vector<double> lows(n), highs(n);
  for (std::size_t v = 0; v < n; ++v) {
    lows[v] = points.low(grid.borders[v]);
    highs[v] = points.high(grid.borders[v + 1] - 1);
  }
  const auto n_cells = static_cast<std::int64_t>(n);
  parallel.run((n_cells + kCellsPerTask - 1) / kCellsPerTask, [&](std::int64_t task) {
    const auto first = static_cast<std::size_t>(task * kCellsPerTask);
    const auto end = static_cast<std::size_t>(std::min(n_cells, (task + 1) * kCellsPerTask));
    HalfGaps<Moments> half_gaps(lows, highs, masses, placement, worth, first);
    for (std::size_t v = first; v < end; ++v) {
      if (grid.open[v]) grid.half_gaps[v] = std::min(grid.half_gaps[v], half_gaps.around(v));
    }
  });
}

namespace {

// Whether a threshold t between centroids on the grid, low <= t < high, can exist.
bool holds_threshold(const Placement& placement, double low, double high, double half_gap) {
  const double least = low - 2.0 * half_gap;
  const double most = high + 2.0 * half_gap;
  const bool spans_zero = least <= 0.0 && most >= 0.0;
  const double nearest = spans_zero ? 0.0 : std::min(std::fabs(least), std::fabs(most));
  const double step = 0.5 * placement.step_at(nearest);
  return !(std::ceil(low / step) * step >= high);
}

}  // namespace

template <class Moments>
void close_between_values(const Points& points, const Placement& placement, Grid<Moments>& grid) {
  if (!placement.grid()) return;
  for (std::size_t v = 0; v < grid.size(); ++v) {
    if (!grid.open[v]) continue;
    const double low = points.low(grid.borders[v]);
    const double high = points.high(grid.borders[v + 1] - 1);
    grid.open[v] = holds_threshold(placement, low, high, grid.half_gaps[v]);
  }
}

template <class Moments>
bool may_hold_boundary_at(const Points& points, const Placement& placement,
                          const Grid<Moments>& grid, std::size_t node) {
  if (!placement.grid()) return true;
  const double low = points.high(grid.borders[node] - 1);
  const double high = points.low(grid.borders[node]);
  // The points that bound the half-gap inside a cell are further from here by no more than this.
  const double half_gap =
      std::min(grid.half_gaps[node - 1], grid.half_gaps[node]) + 2.0 * (high - low);
  return holds_threshold(placement, low, high, half_gap);
}

template void bound_half_gaps(const Points&, const Placement&, double, const Parallel&,
                              Grid<QuadraticMoments>&);
template void bound_half_gaps(const Points&, const Placement&, double, const Parallel&,
                              Grid<QuarticMoments>&);

template void close_between_values(const Points&, const Placement&, Grid<QuadraticMoments>&);
template void close_between_values(const Points&, const Placement&, Grid<QuarticMoments>&);
template bool may_hold_boundary_at(const Points&, const Placement&, const Grid<QuadraticMoments>&,
                                   std::size_t);
template bool may_hold_boundary_at(const Points&, const Placement&, const Grid<QuarticMoments>&,
                                   std::size_t);

}  // namespace wkmeans
