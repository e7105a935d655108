#include "cpu/small_optimal.h"

#include <algorithm>
#include <limits>

#include "cpu/direct_moments.h"
#include "cpu/interval_costs.h"
#include "cpu/k_path.h"
#include "cpu/layers.h"
#include "cpu/small_grid.h"

namespace wkmeans {
namespace {

constexpr std::size_t kCellsPerCluster = 8;
constexpr std::size_t kSpareCells = 8;
// Up to so many points a cluster, and so many more, each is a cell from the start.
constexpr std::size_t kPointsPerCluster = 12;
constexpr std::size_t kFewPoints = 64;
constexpr std::size_t kMostCells = 1024;
constexpr int kMostRounds = 20;
// Of sums of up to kMostCells moments and k costs, generously.
constexpr double kRounding = 1e-12;

// Memory that one problem after another uses.
template <class Moments>
struct Scratch {
  ClusterMeasure measure;
  SmallGrid<Moments> grid;
  IntervalCosts costs;
  Layers layers;
  std::vector<double> gains, discounts;
  std::vector<char> alive;
};

template <class Moments>
class SmallSearch {
public:
  SmallSearch(const Points& points, const Placement& placement, std::size_t k,
              Scratch<Moments>& scratch)
      : points_(points),
        placement_(placement),
        k_(k),
        most_cells_(kCellsPerCluster * k + kSpareCells),
        s_(scratch) {}

  std::optional<Optimum> run() {
    start();
    for (int round = 0; round < kMostRounds; ++round) {
      if (s_.grid.size() > kMostCells) return std::nullopt;
      fill_cells(points_, s_.grid);
      if (s_.grid.is_exact()) return finish(round);
      look();
      judge();
      refine(s_.alive, incumbent_, most_cells_, s_.grid);
    }
    return std::nullopt;
  }

private:
  // The first cells, and what equal shares of the measure cost as clusters.
  void start() {
    if (points_.size() <= kPointsPerCluster * k_ + kFewPoints) {
      s_.grid.borders.resize(points_.size() + 1);
      for (std::size_t i = 0; i <= points_.size(); ++i) s_.grid.borders[i] = i;
    } else {
      s_.measure.measure(points_);
      s_.measure.cut(k_, s_.grid.borders);
      // Points that stand alone make parts of their own: more than k prove nothing.
      if (s_.grid.borders.size() <= k_ + 1) upper_bound_ = cost_of(s_.grid.borders);
      s_.measure.cut(most_cells_, s_.grid.borders);
    }
    s_.grid.open.clear();
    for (std::size_t v = 0; v + 1 < s_.grid.borders.size(); ++v) {
      s_.grid.open.push_back(s_.grid.borders[v + 1] - s_.grid.borders[v] > 1);
    }
  }

  double cost_of(const std::vector<std::size_t>& borders) const {
    const DirectMoments<Moments> moments(points_);
    double cost = 0.0;
    for (std::size_t j = 0; j + 1 < borders.size(); ++j) {
      cost += placement_.cost(moments.range(borders[j], borders[j + 1]));
    }
    return cost * (1.0 + kRounding);
  }

  // Bounds the optimum from above by the best path over the borders, and what one more centroid
  // would save it by what those between half of k and k save on average: its cost is convex in k.
  void look() {
    s_.costs.fill(s_.grid.cells, upper_bound_, placement_);
    s_.discounts.assign(s_.grid.size() + 1, 0.0);
    s_.layers.run_forward(s_.costs, k_, s_.discounts);
    const double least = s_.layers.least(k_);
    if (least < std::numeric_limits<double>::infinity()) {
      incumbent_.clear();
      for (const std::size_t node : s_.layers.path(s_.costs)) {
        incumbent_.push_back(s_.grid.borders[node]);
      }
      // The bound of a root's cost from below is no cost: ask for that.
      std::vector<std::size_t> borders{0};
      borders.insert(borders.end(), incumbent_.begin(), incumbent_.end());
      upper_bound_ = std::min(upper_bound_, cost_of(borders));
    }
    worth_ = std::min(worth_, upper_bound_);
    for (const std::size_t fewer : {k_ / 2, k_ - k_ / 4, k_ - 1}) {
      if (fewer < 1 || fewer >= k_) continue;
      const double cost = s_.layers.least(fewer) * (1.0 + 2.0 * kRounding);
      worth_ = std::min(worth_, (cost - lower_bound_) / static_cast<double>(k_ - fewer));
      costs_of_fewer_.push_back({fewer, cost});
    }
  }

  // Which nodes no clustering as good as the incumbent has a boundary moved to.
  void judge() {
    constexpr int kMostTightenings = 3;
    const std::size_t n = s_.grid.size();
    double limit = 0.0;
    for (int tightening = 0; tightening < kMostTightenings; ++tightening) {
      find_split_gains(points_, s_.grid, placement_, worth_, s_.gains);
      double most = 0.0;
      for (std::size_t v = 0; v < n; ++v) most = std::max(most, s_.gains[v]);
      for (std::size_t i = 1; i < n; ++i) {
        s_.discounts[i] = std::max(s_.gains[i - 1], s_.gains[i]);
      }
      // No interval of a path that comes to at most the upper bound costs more by itself.
      const double widest = upper_bound_ + static_cast<double>(k_) * most;
      if (widest > limit) s_.costs.fill(s_.grid.cells, limit = widest, placement_);
      s_.layers.run_forward(s_.costs, k_, s_.discounts);
      lower_bound_ = std::max(lower_bound_, s_.layers.least(k_) - kRounding * limit);
      const double worth_before = worth_;
      for (const auto& fewer : costs_of_fewer_) {
        worth_ = std::min(worth_, (fewer.cost - lower_bound_) / static_cast<double>(k_ - fewer.k));
      }
      if (!(worth_ < 0.7 * worth_before)) break;
    }
    s_.layers.run_backward(s_.costs, k_, s_.discounts);
    s_.alive.assign(n + 1, 0);
    for (std::size_t i = 1; i < n; ++i) {
      s_.alive[i] = s_.layers.least_through(i, s_.discounts[i]) <= upper_bound_ + kRounding * limit;
    }
  }

  // Every boundary of the optimum is a border: the best path is the optimum.
  Optimum finish(int round) {
    s_.costs.fill(s_.grid.cells, upper_bound_, placement_);
    s_.discounts.assign(s_.grid.size() + 1, 0.0);
    s_.layers.run_forward(s_.costs, k_, s_.discounts);
    Optimum optimum;
    std::vector<std::size_t> borders{0};
    for (const std::size_t node : s_.layers.path(s_.costs)) {
      borders.push_back(s_.grid.borders[node]);
    }
    optimum.boundaries.assign(borders.begin() + 1, borders.end());
    optimum.cost = cost_of(borders);
    // What was closed lies above the upper bound; what is left, above the shortest path.
    const double bound = std::min(s_.layers.least(k_), upper_bound_);
    optimum.lower_bound = std::min(bound * (1.0 - kRounding), optimum.cost);
    optimum.n_rounds = round;
    return optimum;
  }

  struct CostOfFewer {
    std::size_t k;
    double cost;
  };

  const Points& points_;
  const Placement& placement_;
  const std::size_t k_;
  const std::size_t most_cells_;
  Scratch<Moments>& s_;
  std::vector<std::size_t> incumbent_;
  std::vector<CostOfFewer> costs_of_fewer_;
  double upper_bound_ = std::numeric_limits<double>::infinity();
  double lower_bound_ = 0.0;
  double worth_ = std::numeric_limits<double>::infinity();
};

}  // namespace

template <class Moments>
std::optional<Optimum> small_optimum(const Points& points, const Placement& placement,
                                     std::size_t k) {
  thread_local Scratch<Moments> scratch;  // many problems follow one another on a thread
  return SmallSearch<Moments>(points, placement, k, scratch).run();
}

template std::optional<Optimum> small_optimum<QuadraticMoments>(const Points&, const Placement&,
                                                                std::size_t);
template std::optional<Optimum> small_optimum<QuarticMoments>(const Points&, const Placement&,
                                                              std::size_t);

}  // namespace wkmeans
