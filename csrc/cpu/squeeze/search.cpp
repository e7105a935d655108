#include "cpu/squeeze/search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "cpu/intervals/bounds.h"
#include "cpu/intervals/front.h"
#include "cpu/squeeze/cells.h"
#include "cpu/squeeze/finish.h"
#include "cpu/squeeze/interval_costs.h"
#include "cpu/squeeze/layers.h"
#include "cpu/squeeze/windows.h"

namespace wkmeans {
namespace {

constexpr double kFirstCells = 13.0;      // for each cluster, in the first round
constexpr std::size_t kThinning = 3;      // so many of those are one cell to the first incumbent
constexpr double kRefinement = 2.0;       // times as many cells from round to round
constexpr std::size_t kFewPositions = 6;  // for each boundary: then all are tried
constexpr std::size_t kMostCells = 768;   // beyond, a Lagrangian is the quicker way
constexpr int kMostRounds = 16;
constexpr int kPolishingRounds = 20;
constexpr int kSqueezingRounds = 8;
// The search gives up where rounding could move costs by more than this share of the optimum.
constexpr double kMostRounding = 1e-3;
constexpr double kLeastUnit = 1e-280;
// Costs that are rounded for each edge of a path: its own, the incumbent's, and on either side that
// of a cell which makes a cluster.
constexpr double kCostsAnEdge = 4.0;

// Memory that one problem after another uses.
template <class Moments>
struct Scratch {
  ClusterMeasure measure;
  SqueezeSums<Moments> sums;
  SqueezeGrid grid, coarse;
  IntervalCosts costs;
  Layers layers;
  SqueezeLloyd<Moments> lloyd{sums};
  std::vector<double> gains, discounts, largest, low, high;
  Starts starts;
  std::vector<Positions> ranges;
  std::vector<std::size_t> boundaries;
  std::vector<char> reached;
  std::vector<Positions> stretches, clipped;
};

template <class Moments>
class Squeeze {
public:
  Squeeze(const Points& points, std::size_t k, Scratch<Moments>& scratch)
      : points_(points), k_(k), s_(scratch), windows_(all_windows(points.size(), k)) {}

  std::optional<SqueezedOptimum<Moments>> run() {
    if (k_ == 1) return cheapest_within<Moments>(points_, {0, points_.size()}, {{0, 0}, {1, 1}});
    s_.sums.build(points_);
    margin_ = kCostsAnEdge * static_cast<double>(k_) * s_.sums.cost_error();
    if (!std::isfinite(margin_) || !find_incumbent()) return std::nullopt;
    double cells_per_cluster = kFirstCells;
    int round = 1;
    for (;; ++round) {
      if (!narrow_windows()) return std::nullopt;
      if (!s_.lloyd.squeeze(kSqueezingRounds, windows_)) return std::nullopt;
      clip_stretches();
      if (n_positions() <= kFewPositions * k_ || s_.grid.is_exact()) break;
      if (round == kMostRounds) return std::nullopt;
      cut(cells_per_cluster *= kRefinement);
      if (s_.grid.size() > kMostCells || !find_ranges()) return std::nullopt;
      find_half_gaps();
    }
    cut_to_points();
    if (!find_ranges()) return std::nullopt;
    auto optimum = cheapest_within<Moments>(points_, s_.grid.borders, s_.ranges);
    if (optimum) optimum->n_rounds = round;
    return optimum;
  }

private:
  using Sums = typename SumsOf<Moments>::Type;

  // Takes the shortest path, after some rounds of Lloyd, as the incumbent if it is cheaper; false
  // where rounding could hide the optimum.
  bool bound_above() {
    s_.boundaries.assign(1, 0);
    for (const std::size_t node : s_.layers.path(s_.costs)) {
      s_.boundaries.push_back(s_.grid.borders[node]);
    }
    if (s_.boundaries.size() == k_ + 1) {
      s_.lloyd.polish(kPolishingRounds, s_.boundaries);
      upper_bound_ = std::min(upper_bound_, s_.lloyd.cost(s_.boundaries) + margin_);
    }
    return margin_ <= kMostRounding * upper_bound_ && upper_bound_ < kInfinity;
  }

  // Cuts cells of about equal share of the measure. A shortest path over coarser ones is the first
  // incumbent, and bounds the half-gaps.
  bool find_incumbent() {
    s_.measure.measure(points_);
    s_.stretches.assign(1, {1, points_.size() - 1});
    cut(kFirstCells);
    thin_out(s_.grid, s_.grid.size() > kThinning * k_ ? kThinning : 1, s_.coarse);
    gather_sums(s_.sums, s_.coarse);
    std::swap(s_.grid, s_.coarse);
    const bool found = find_coarse_path();
    std::swap(s_.grid, s_.coarse);
    if (!found) return false;
    bound_half_gaps(s_.sums, worth_of_a_centroid(), s_.grid);
    set_all_ranges();
    return true;
  }

  // As many cells to a cluster make a fair clustering, which bounds all clusters' costs.
  bool find_coarse_path() {
    const std::size_t n = s_.grid.size();
    if (n <= k_) return false;
    s_.boundaries.clear();
    for (std::size_t j = 0; j <= k_; ++j) s_.boundaries.push_back(s_.grid.borders[n * j / k_]);
    s_.discounts.assign(n + 1, 0.0);
    set_all_ranges();
    if (!fill_costs(2.0 * s_.lloyd.cost(s_.boundaries) + margin_)) return false;
    s_.layers.run_forward(s_.costs, k_, s_.discounts);
    return bound_above();
  }

  // A boundary may be any inner node.
  void set_all_ranges() {
    const std::size_t n = s_.grid.size();
    s_.ranges.assign(1, {0, 0});
    s_.ranges.resize(k_, {1, n - 1});
    s_.ranges.push_back({n, n});
  }

  // Costs are counted in units of the limit; false where its inverse is not finite.
  bool fill_costs(double limit) {
    if (!(limit > kLeastUnit && limit < kInfinity)) return false;
    const std::size_t n = s_.grid.size();
    s_.starts.earliest.assign(n + 1, n);
    s_.starts.latest.assign(n + 1, 0);
    std::size_t earliest = 1;  // of the edges that may come to an end
    std::size_t latest = 1;
    for (std::size_t end = 1; end <= n; ++end) {
      while (earliest < k_ && s_.ranges[earliest].last < end) ++earliest;
      while (latest < k_ && s_.ranges[latest + 1].first <= end) ++latest;
      s_.starts.earliest[end] = s_.ranges[earliest - 1].first;
      s_.starts.latest[end] = s_.ranges[latest - 1].last;
    }
    s_.costs.template fill<Sums>(s_.grid.columns(), s_.starts, limit);
    return true;
  }

  // The most that the inner nodes of one path can earn together.
  double most_discounted() {
    const std::size_t n_inner = std::min(k_ - 1, s_.discounts.size());
    s_.largest.assign(s_.discounts.begin(), s_.discounts.end());
    const auto end = s_.largest.begin() + static_cast<std::ptrdiff_t>(n_inner);
    std::nth_element(s_.largest.begin(), end, s_.largest.end(), std::greater<>());
    return std::accumulate(s_.largest.begin(), end, 0.0);
  }

  double worth_of_a_centroid() const {
    double worth = upper_bound_;
    for (std::size_t fewer = 1; fewer < k_; ++fewer) {
      const double cost =
          s_.layers.least(fewer) + margin_ + static_cast<double>(fewer) * s_.costs.slack();
      worth = std::min(worth, wkmeans::worth_of_a_centroid(cost, fewer, k_));
    }
    return worth;
  }

  // Where boundaries can have been that were moved to the nodes reached.
  void take_windows() {
    const SqueezeGrid& grid = s_.grid;
    for (std::size_t j = 1; j < k_; ++j) {
      windows_.low[j] = std::max(windows_.low[j], grid.low(s_.ranges[j].first));
      windows_.high[j] = std::min(windows_.high[j], grid.high(s_.ranges[j].last));
    }
    s_.stretches.clear();
    for (std::size_t node = 1; node < grid.size(); ++node) {
      if (s_.reached[node]) add_stretch({grid.low(node), grid.high(node)});
    }
  }

  void add_stretch(const Positions& stretch) {
    if (!s_.stretches.empty() && stretch.first <= s_.stretches.back().last + 1) {
      s_.stretches.back().last = std::max(s_.stretches.back().last, stretch.last);
    } else {
      s_.stretches.push_back(stretch);
    }
  }

  // Cuts off what lies in no window.
  void clip_stretches() {
    s_.clipped.swap(s_.stretches);
    s_.stretches.clear();
    std::size_t j = 1;
    for (const Positions& stretch : s_.clipped) {
      while (j < k_ && windows_.high[j] < stretch.first) ++j;
      for (std::size_t next = j; next < k_ && windows_.low[next] <= stretch.last; ++next) {
        const std::size_t low = std::max(stretch.first, windows_.low[next]);
        const std::size_t high = std::min(stretch.last, windows_.high[next]);
        add_stretch({low, high});
      }
    }
  }

  std::size_t n_positions() const {
    std::size_t count = 0;
    for (const Positions& stretch : s_.stretches) count += stretch.size();
    return count;
  }

  void cut(double cells_per_cluster) {
    const double n_cells = cells_per_cluster * static_cast<double>(k_);
    cut_stretches(s_.stretches, points_.size(), s_.grid,
                  [&](std::size_t low, std::size_t high, std::vector<std::size_t>& borders) {
                    s_.measure.cut(low, high, n_cells, borders);
                  });
    gather_sums(s_.sums, s_.grid);
  }

  void cut_to_points() {
    cut_stretches(s_.stretches, points_.size(), s_.grid,
                  [&](std::size_t low, std::size_t high, std::vector<std::size_t>& borders) {
                    for (std::size_t i = low; i <= high; ++i) borders.push_back(i);
                  });
  }

  // False where a window holds no node.
  bool find_ranges() {
    const SqueezeGrid& grid = s_.grid;
    s_.ranges.assign(1, {0, 0});
    std::size_t first = 1;
    for (std::size_t j = 1; j < k_; ++j) {
      while (grid.high(first) < windows_.low[j]) ++first;
      std::size_t last = first;
      while (last + 1 < grid.size() && grid.low(last + 1) <= windows_.high[j]) ++last;
      if (first >= grid.size() || grid.low(first) > windows_.high[j]) return false;
      s_.ranges.push_back({first, last});
    }
    s_.ranges.push_back({grid.size(), grid.size()});
    return true;
  }

  // The windows bound the centroids too, and a boundary lies halfway between its centroids.
  void find_half_gaps() {
    s_.lloyd.bound_centroids(windows_, s_.low, s_.high);
    const std::vector<std::size_t>& borders = s_.grid.borders;
    const double* x = s_.sums.x();
    s_.grid.half_gaps.assign(s_.grid.size(), 0.0);
    for (std::size_t j = 1; j < k_; ++j) {
      for (std::size_t v = s_.ranges[j].first; v < s_.ranges[j].last; ++v) {
        const double below = x[borders[v + 1] - 1] - s_.low[j - 1];
        const double above = s_.high[j] - x[borders[v]];
        double& half_gap = s_.grid.half_gaps[v];
        half_gap = std::max(half_gap, std::min(below, above) + s_.sums.x_error());
      }
    }
  }

  // Leaves the nodes that a path as good as the incumbent may go through.
  bool narrow_windows() {
    find_gains(s_.sums, s_.grid, s_.gains);
    boundary_discounts(s_.gains, s_.discounts);
    // An edge that costs more by itself lies on no path as good as the incumbent.
    if (!fill_costs(upper_bound_ + most_discounted() + margin_)) return false;
    s_.layers.run_forward(s_.costs, k_, s_.discounts);
    if (!bound_above()) return false;
    s_.layers.run_backward(s_.costs, k_, s_.discounts);
    if (!s_.layers.keep_reached(upper_bound_ + margin_, s_.ranges, s_.reached)) return false;
    take_windows();
    return true;
  }

  const Points& points_;
  const std::size_t k_;
  Scratch<Moments>& s_;
  Windows windows_;
  double margin_ = 0.0;
  double upper_bound_ = kInfinity;
};

}  // namespace

template <class Moments>
std::optional<SqueezedOptimum<Moments>> squeezed_optimum(const Points& points, std::size_t k) {
  thread_local Scratch<Moments> scratch;  // many problems follow one another on a thread
  return Squeeze<Moments>(points, k, scratch).run();
}

template std::optional<SqueezedOptimum<QuadraticMoments>> squeezed_optimum(const Points&,
                                                                           std::size_t);
template std::optional<SqueezedOptimum<QuarticMoments>> squeezed_optimum(const Points&,
                                                                         std::size_t);

}  // namespace wkmeans
