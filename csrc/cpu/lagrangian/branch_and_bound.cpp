#include "cpu/lagrangian/branch_and_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/intervals/bounds.h"
#include "cpu/label/codebook.h"
#include "cpu/lagrangian/grid.h"
#include "cpu/lagrangian/half_gaps.h"
#include "cpu/lagrangian/incumbent.h"
#include "cpu/lagrangian/k_path.h"

namespace wkmeans {
namespace {

template <class Moments>
class BranchAndBound {
public:
  BranchAndBound(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
                 std::size_t k, Allowance& allowance, const Parallel& parallel,
                 const std::optional<Start>& start)
      : points_(points),
        pyramid_(pyramid),
        placement_(placement),
        k_(k),
        parallel_(parallel),
        start_(start),
        sweeper_(placement, allowance),
        backward_sweeper_(placement, allowance),
        incumbent_(points, pyramid, placement, k) {}

  Optimum run() {
    try {
      return search();
    } catch (const OutOfWork&) {
      return best_or_even();
    }
  }

  // Closes what it can without looking into groups of weights.
  std::optional<Remaining> narrow() {
    try {
      return narrowed();
    } catch (const OutOfWork&) {
      return std::nullopt;
    }
  }

private:
  Optimum search() {
    multiplier_ = first_multiplier();
    if (points_.size() <= kCellsPerCluster * k_ + kFewPoints)
      return finish({{1, points_.size() - 1}});
    Grid<Moments> grid = first_grid();
    if (incumbent_.empty()) throw OutOfWork{};  // costs beyond what a double holds
    worth_ = first_worth();
    for (round_ = 1; round_ <= kMostRounds; ++round_) {
      if (is_decided()) return so_far();
      Verdict verdict = judge(grid);
      if (is_decided()) return so_far();
      const std::vector<Positions> zones = open_zones(grid, verdict.alive);
      const std::size_t n_left = n_positions(zones);
      if (grid.is_exact() || n_left <= kCellsPerCluster * k_ || is_stuck(n_left))
        return finish(zones);
      if (!is_to_be_cut(grid, verdict)) halve_all(verdict);
      grid =
          refined_grid(points_, pyramid_, grid, verdict, incumbent_.inner_boundaries(), parallel_);
      improve_on(grid);
    }
    return so_far();
  }

  std::optional<Remaining> narrowed() {
    multiplier_ = first_multiplier();
    Grid<Moments> grid = first_grid();
    if (incumbent_.empty()) return std::nullopt;
    worth_ = first_worth();
    for (round_ = 1; round_ <= kMostRounds; ++round_) {
      const Verdict verdict = judge(grid);
      if (!is_to_be_cut(grid, verdict)) return remaining(grid, verdict);
      grid =
          refined_grid(points_, pyramid_, grid, verdict, incumbent_.inner_boundaries(), parallel_);
      improve_on(grid);
    }
    return std::nullopt;
  }

  Optimum best_or_even() {
    if (incumbent_.empty()) {
      Boundaries even;
      for (std::size_t j = 1; j <= k_; ++j) even.push_back(j * points_.size() / k_);
      incumbent_.take_polished(even);
      if (incumbent_.empty()) return {even, incumbent_.cost(), lower_bound_, std::max(1, round_)};
    }
    return so_far();
  }

  Optimum so_far() const {
    return {incumbent_.boundaries(), incumbent_.cost(), lower_bound_, std::max(1, round_)};
  }

  double first_multiplier() const {
    return start_ ? start_->multiplier
                  : 2.0 * placement_.cost(pyramid_.range(0, points_.size())) /
                        std::pow(static_cast<double>(k_), 3.0);
  }

  Grid<Moments> first_grid() {
    if (start_) incumbent_.take_polished(cluster_boundaries(points_, start_->centroids));
    const bool is_blank = incumbent_.empty();
    Grid<Moments> grid =
        is_blank ? measured_grid(points_, pyramid_, kFirstCellsPerCluster * k_, parallel_)
                 : zoned_grid(points_, pyramid_, incumbent_.inner_boundaries(), parallel_);
    if (is_blank) take_every_few_cells(grid);
    improve_on(grid);
    return grid;
  }

  // Clusters that cost about the same, near whose multiplier the best lies.
  void take_every_few_cells(const Grid<Moments>& grid) {
    if (grid.size() < k_) return;
    Boundaries boundaries;
    for (std::size_t j = 1; j <= k_; ++j) boundaries.push_back(grid.borders[j * grid.size() / k_]);
    incumbent_.take(boundaries);
    // What another centroid saves where costs fall by its square.
    const double saved = 2.0 * incumbent_.cost() / static_cast<double>(k_);
    if (saved > 0.0 && std::isfinite(saved)) multiplier_ = saved;
  }

  double first_worth() const {
    const double worth = incumbent_.worth_of_a_centroid();
    return start_ ? std::min(start_->worth, worth) : worth;
  }

  static bool is_open(const Grid<Moments>& grid, const Verdict& verdict, std::size_t v) {
    return grid.open[v] && (verdict.alive[v] || verdict.alive[v + 1]);
  }

  // Whether another round would look closer at any open cell.
  static bool is_to_be_cut(const Grid<Moments>& grid, const Verdict& verdict) {
    for (std::size_t v = 0; v < grid.size(); ++v) {
      if (is_open(grid, verdict, v) && verdict.n_parts[v] > 1 &&
          grid.borders[v + 1] - grid.borders[v] > 1)
        return true;
    }
    return false;
  }

  // What cells may leave undecided is a share of the gap for each of k boundaries. Where they gain
  // more than a multiplier, paths pass through many more, and the gap stays.
  static void halve_all(Verdict& verdict) {
    std::fill(verdict.n_parts.begin(), verdict.n_parts.end(), std::size_t{2});
  }

  Remaining remaining(const Grid<Moments>& grid, const Verdict& verdict) const {
    Remaining found{std::vector<bool>(points_.size() + 1, false),
                    std::vector<bool>(points_.size(), false),
                    incumbent_.cost(),
                    {incumbent_.centroids(), multiplier_, worth_}};
    for (std::size_t v = 0; v < grid.size(); ++v) {
      if (verdict.alive[v]) found.alive[grid.borders[v]] = true;
      if (!is_open(grid, verdict, v)) continue;
      for (std::size_t i = grid.borders[v]; i < grid.borders[v + 1]; ++i) {
        found.open[i] = points_.is_divisible(i);
        if (i > grid.borders[v]) found.alive[i] = true;
      }
    }
    return found;
  }

  static constexpr std::size_t kFirstCellsPerCluster = 6;
  static constexpr std::size_t kCellsPerCluster = 12;  // few enough to decide position by position
  static constexpr std::size_t kFewPoints = 64;
  static constexpr int kMostRounds = 60;
  static constexpr std::size_t kMostParts = 16;
  static constexpr double kDrowned = 1e-14;  // beside a cost
  // How much a cell may leave undecided before it is cut: so much that k such cells make up
  // 1 / kReduction of the gap, or this share of what a boundary there costs anyway. Sweeps over
  // quartic cells take time by the square of their number, so that these are cut less finely.
  static constexpr double kReduction = Moments::kQuartic ? 16.0 : 32.0;
  static constexpr double kToleratedShare = 0.25;
  // Half-gaps bounded on coarse cells serve their parts, unless a centroid is worth much less now.
  static constexpr int kRoundsOfNewHalfGaps = 2;
  static constexpr double kWorthOfNewHalfGaps = 0.9;

  // Takes the best path over the grid as the new incumbent if it is cheaper.
  void improve_on(const Grid<Moments>& grid) {
    if (grid.size() < k_) return;
    const KPath path = cheapest_path(grid.cells, k_, multiplier_, sweeper_, tolerance_on(grid));
    if (std::isfinite(path.multiplier)) multiplier_ = path.multiplier;
    // Where no cell is open the borders are all the boundaries that the optimum can have.
    if (grid.is_exact()) lower_bound_ = std::max(lower_bound_, path.lower_bound);
    Boundaries boundaries;
    for (std::size_t j = 1; j <= k_; ++j) boundaries.push_back(grid.borders[path.nodes[j]]);
    incumbent_.take_polished(boundaries);
    // A multiplier that drowns in the cost's last digits orders nothing.
    multiplier_ = std::max(multiplier_, kDrowned * incumbent_.cost() / static_cast<double>(k_));
  }

  // How much of the lower bound a search for the multiplier may leave: little beside what open
  // cells leave undecided.
  double tolerance_on(const Grid<Moments>& grid) const {
    constexpr double kShareOfGap = 1.0 / 64.0;
    if (grid.is_exact() || !std::isfinite(incumbent_.cost())) return 0.0;
    return kShareOfGap * (incumbent_.cost() - lower_bound_);
  }

  // Whether the bounds have met as nearly as their own rounding lets them: a closer look would only
  // order clusterings by what rounding makes of them.
  bool is_decided() const {
    constexpr double kSlacks = 4.0;
    return incumbent_.cost() - lower_bound_ <= kSlacks * path_slack(incumbent_.cost(), 0.0, k_);
  }

  // Whether the bounds have met, but what is light beside the cost lies below their digits: more
  // rounds would close little of it, while the best path over all that is left is soon found.
  bool is_stuck(std::size_t n_positions_left) {
    constexpr double kHardlyFewer = 0.75;
    const double before = n_positions_before_;
    n_positions_before_ = static_cast<double>(n_positions_left);
    return n_positions_before_ > kHardlyFewer * before &&
           is_certified({{}, incumbent_.cost(), lower_bound_});
  }

  // What is undecided around a boundary of the incumbent makes paths through it look dearer than
  // the shortest: through every cell near it by that much.
  std::vector<double> least_excess_around(const Grid<Moments>& grid,
                                          const std::vector<double>& through) const {
    const Boundaries& incumbent = incumbent_.boundaries();
    const double least = through.front();
    std::vector<double> excess(grid.size(), 0.0);
    std::size_t begin = 0;
    std::size_t node = 0;
    for (std::size_t j = 0; j + 1 < k_; ++j) {
      node = nearest_node(grid, incumbent[j]);
      const std::size_t next = j + 2 < k_ ? nearest_node(grid, incumbent[j + 1]) : grid.size();
      const std::size_t end = j + 2 < k_ ? node + (next - node) / 2 : next;
      std::fill(excess.begin() + static_cast<std::ptrdiff_t>(begin),
                excess.begin() + static_cast<std::ptrdiff_t>(std::max(begin, end)),
                through[node] - least);
      begin = std::max(begin, end);
    }
    return excess;
  }

  static std::size_t nearest_node(const Grid<Moments>& grid, std::size_t boundary) {
    const auto at = std::lower_bound(grid.borders.begin(), grid.borders.end(), boundary);
    return static_cast<std::size_t>(at - grid.borders.begin());
  }

  void sweep_both_ways(const std::vector<Moments>& cells, const std::vector<double>& discounts) {
    constexpr std::size_t kCellsWorthAThread = Moments::kQuartic ? 2048 : 8192;
    const auto sweep = [&](std::int64_t direction) {
      if (direction == 0) {
        sweeper_.run(cells, multiplier_, discounts);
      } else {
        backward_sweeper_.run({cells.rbegin(), cells.rend()}, multiplier_,
                              {discounts.rbegin(), discounts.rend()});
      }
    };
    (cells.size() < kCellsWorthAThread ? Parallel(1) : parallel_).run(2, sweep);
  }

  // Which nodes no clustering as good as the incumbent has a boundary moved to, and how finely to
  // cut the rest.
  Verdict judge(Grid<Moments>& grid) {
    const double limit = incumbent_.cost() + multiplier_ * static_cast<double>(k_);
    const double slack = path_slack(incumbent_.cost(), multiplier_, k_);
    if (round_ <= kRoundsOfNewHalfGaps || worth_ < kWorthOfNewHalfGaps * worth_of_half_gaps_) {
      bound_half_gaps(points_, placement_, worth_, parallel_, grid);
      worth_of_half_gaps_ = worth_;
    }
    close_between_values(points_, placement_, grid);
    const std::vector<double> gains = split_gains(points_, placement_, grid);
    std::vector<double> discounts;
    boundary_discounts(gains, multiplier_, discounts);
    sweep_both_ways(grid.cells, discounts);
    const double gap = limit - sweeper_.potentials().costs.back() + slack;
    lower_bound_ = std::max(lower_bound_, incumbent_.cost() - gap);
    worth_ = std::min(worth_, multiplier_ + gap);
    const std::size_t n = grid.size();
    const std::vector<double>& forward = sweeper_.potentials().costs;
    const std::vector<double>& backward = backward_sweeper_.potentials().costs;
    std::vector<double> through(n + 1);  // the least cost of a path through each node
    Verdict verdict{std::vector<bool>(n + 1, false), std::vector<std::size_t>(n, 1)};
    for (std::size_t i = 0; i <= n; ++i) {
      through[i] = forward[i] + backward[n - i] + discounts[i];
      if (i == 0 || i == n || through[i] > limit + slack) continue;
      // A boundary may have been moved here from inside a cell, or lie here.
      verdict.alive[i] =
          grid.open[i - 1] || grid.open[i] || may_hold_boundary_at(points_, placement_, grid, i);
    }
    const double least = forward.back();
    const std::vector<double> unavoidable = least_excess_around(grid, through);
    const double tolerated = (limit - least) / (kReduction * static_cast<double>(k_));
    for (std::size_t v = 0; v < n; ++v) {
      const double excess = std::min(through[v], through[v + 1]) - least - unavoidable[v];
      const double share = gains[v] / std::max(tolerated, kToleratedShare * excess);
      if (share > 1.0) {
        const double wanted = std::min(static_cast<double>(kMostParts), 1.0 + std::sqrt(share));
        verdict.n_parts[v] = static_cast<std::size_t>(wanted);
      }
    }
    return verdict;
  }

  static std::size_t n_positions(const std::vector<Positions>& zones) {
    std::size_t count = 0;
    for (const Positions& zone : zones) count += zone.size();
    return count;
  }

  // Every boundary of the optimum is among the positions left: the best path over them is the
  // optimum.
  Optimum finish(const std::vector<Positions>& zones) {
    const Grid<Moments> grid = exact_grid(pyramid_, points_.size(), zones, parallel_);
    // Between a format's values there may be no place for so many clusters.
    const std::size_t k = std::min(k_, grid.size());
    const KPath path = cheapest_path(grid.cells, k, multiplier_, sweeper_);
    Optimum optimum;
    for (std::size_t j = 1; j <= k; ++j) optimum.boundaries.push_back(grid.borders[path.nodes[j]]);
    optimum.cost = incumbent_.cost_of(optimum.boundaries);
    // The path may have had to be spliced.
    if (incumbent_.cost() + path_slack(incumbent_.cost(), 0.0, k_) < optimum.cost) {
      optimum.boundaries = incumbent_.boundaries();
      optimum.cost = incumbent_.cost();
    }
    optimum.lower_bound = std::min(std::max(path.lower_bound, lower_bound_), optimum.cost);
    optimum.n_rounds = std::max(1, round_);
    return optimum;
  }

  const Points& points_;
  const Pyramid<Moments>& pyramid_;
  const Placement& placement_;
  const std::size_t k_;
  const Parallel& parallel_;
  const std::optional<Start> start_;
  Sweeper<Moments> sweeper_, backward_sweeper_;
  Incumbent<Moments> incumbent_;
  double lower_bound_ = 0.0;
  double multiplier_ = 0.0;
  double worth_ = std::numeric_limits<double>::infinity();
  double n_positions_before_ = std::numeric_limits<double>::infinity();
  double worth_of_half_gaps_ = std::numeric_limits<double>::infinity();
  int round_ = 0;
};

}  // namespace

template <class Moments>
Optimum branch_and_bound(const Points& points, const Pyramid<Moments>& pyramid,
                         const Placement& placement, std::size_t k, Allowance& allowance,
                         const Parallel& parallel, const std::optional<Start>& start) {
  return BranchAndBound<Moments>(points, pyramid, placement, k, allowance, parallel, start).run();
}

template <class Moments>
std::optional<Remaining> narrowed(const Points& points, const Pyramid<Moments>& pyramid,
                                  const Placement& placement, std::size_t k,
                                  const Parallel& parallel) {
  constexpr double kMostWork = 4e8;  // intervals: about a second
  Allowance allowance(kMostWork);
  return BranchAndBound<Moments>(points, pyramid, placement, k, allowance, parallel, std::nullopt)
      .narrow();
}

#define WKM_INSTANTIATE(Moments)                                                              \
  template Optimum branch_and_bound(const Points&, const Pyramid<Moments>&, const Placement&, \
                                    std::size_t, Allowance&, const Parallel&,                 \
                                    const std::optional<Start>&);                             \
  template std::optional<Remaining> narrowed(const Points&, const Pyramid<Moments>&,          \
                                             const Placement&, std::size_t, const Parallel&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
