#include "cpu/layered/optimal_layers.h"

#include <limits>

#include "cpu/base/allowance.h"
#include "cpu/base/interrupt.h"

namespace wkmeans {
namespace {

// Rows [first_row, last_row] of a layer, whose best last boundaries lie in [first_column,
// last_column].
struct Block {
  std::size_t first_row, last_row;
  std::size_t first_column, last_column;
};

// One layer: best[i] = min over p < i of previous[p] + cost of points [p, i).
template <class Moments>
class Layer {
public:
  Layer(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
        const std::vector<double>& previous, std::vector<double>& best, std::uint32_t* argmin,
        Allowance& allowance)
      : points_(points),
        pyramid_(pyramid),
        placement_(placement),
        previous_(previous),
        best_(best),
        argmin_(argmin),
        allowance_(allowance),
        tie_(1.0 + rounding_slack(points.size())) {}

  void solve(const Block& all, const Parallel& parallel) {
    // The first splits are made here, whatever the number of threads; what remains is independent.
    std::vector<Block> blocks{all};
    for (int depth = 0; depth < kSerialDepth; ++depth) {
      std::vector<Block> halves;
      for (const Block& block : blocks)
        split(block, [&](const Block& half) { halves.push_back(half); });
      blocks = std::move(halves);
    }
    parallel.run(static_cast<std::int64_t>(blocks.size()),
                 [&](std::int64_t i) { solve_below(blocks[static_cast<std::size_t>(i)]); });
  }

private:
  static constexpr int kSerialDepth = 5;
  static constexpr std::size_t kStepsOfAnInterval = 16;

  void solve_below(const Block& block) {
    split(block, [&](const Block& half) { solve_below(half); });
  }

  // Solves the middle row; by the Monge property the argmins of the rows on either side lie on the
  // same side of its own. Columns that tie within rounding all count as its own: the cost of a
  // heavy prefix says nothing about where a light one, decades below its last digit, is best cut.
  template <class Visit>
  void split(const Block& block, Visit&& visit) {
    const std::size_t row = block.first_row + (block.last_row - block.first_row) / 2;
    const Columns tied = solve_row(row, block);
    if (row > block.first_row)
      visit(Block{block.first_row, row - 1, block.first_column, tied.last});
    if (row < block.last_row) visit(Block{row + 1, block.last_row, tied.first, block.last_column});
  }

  struct Columns {
    std::size_t first, last;
  };

  Columns solve_row(std::size_t row, const Block& block) {
    std::size_t column = block.last_column < row ? block.last_column : row - 1;
    std::size_t best_column = column;
    Columns tied{column, column};
    double best = std::numeric_limits<double>::infinity();
    std::size_t n_intervals = 0;
    Moments moments = pyramid_.range(column, row);
    for (;;) {
      ++n_intervals;
      const double interval_cost = placement_.cost(moments);
      if (interval_cost > best * tie_) break;  // wider intervals cost more still
      const double cost = previous_[column] + interval_cost;
      if (cost * tie_ < best) tied.last = column;
      if (cost <= best * tie_) tied.first = column;
      if (cost < best) {
        best = cost;
        best_column = column;
      }
      if (column == block.first_column) break;
      --column;
      moments = merge(point_moments<Moments>(points_, column), moments);
    }
    stop_if_interrupted_after(kStepsOfAnInterval * n_intervals);
    allowance_.spend(n_intervals);
    best_[row] = best;
    if (argmin_) argmin_[row] = static_cast<std::uint32_t>(best_column);
    return tied;
  }

  const Points& points_;
  const Pyramid<Moments>& pyramid_;
  const Placement& placement_;
  const std::vector<double>& previous_;
  std::vector<double>& best_;
  std::uint32_t* argmin_;
  Allowance& allowance_;
  double tie_;
};

template <class Moments>
std::vector<double> one_cluster_costs(const Points& points, const Placement& placement) {
  std::vector<double> costs(points.size() + 1, 0.0);
  Moments moments{};
  for (std::size_t i = 0; i < points.size(); ++i) {
    moments = merge(moments, point_moments<Moments>(points, i));
    costs[i + 1] = placement.cost(moments);
  }
  return costs;
}

}  // namespace

template <class Moments>
LayeredOptimum optimal_layers(const Points& points, const Pyramid<Moments>& pyramid,
                              const Placement& placement, std::size_t k, Want want,
                              const Parallel& parallel, Allowance& allowance) {
  const std::size_t n = points.size();
  const std::size_t row_size = n + 1;
  LayeredOptimum optimum;
  std::vector<std::uint32_t> argmins(want == Want::boundaries ? (k - 1) * row_size : 0);
  std::vector<double> previous = one_cluster_costs<Moments>(points, placement);
  std::vector<double> best(row_size);
  optimum.costs.push_back(previous[n]);
  for (std::size_t layer = 1; layer < k; ++layer) {
    std::uint32_t* argmin =
        want == Want::boundaries ? argmins.data() + (layer - 1) * row_size : nullptr;
    Layer<Moments>(points, pyramid, placement, previous, best, argmin, allowance)
        .solve({layer + 1, n, layer, n - 1}, parallel);
    optimum.costs.push_back(best[n]);
    previous.swap(best);
  }
  if (want == Want::boundaries) {
    optimum.boundaries.assign(k, n);
    for (std::size_t layer = k - 1; layer > 0; --layer) {
      optimum.boundaries[layer - 1] = argmins[(layer - 1) * row_size + optimum.boundaries[layer]];
    }
  }
  return optimum;
}

template <class Moments>
LayeredOptimum optimal_layers(const Points& points, const Pyramid<Moments>& pyramid,
                              const Placement& placement, std::size_t k, Want want,
                              const Parallel& parallel) {
  Allowance unlimited(std::numeric_limits<double>::infinity());
  return optimal_layers(points, pyramid, placement, k, want, parallel, unlimited);
}

#define WKM_INSTANTIATE(Moments)                                                                   \
  template LayeredOptimum optimal_layers(const Points&, const Pyramid<Moments>&, const Placement&, \
                                         std::size_t, Want, const Parallel&, Allowance&);          \
  template LayeredOptimum optimal_layers(const Points&, const Pyramid<Moments>&, const Placement&, \
                                         std::size_t, Want, const Parallel&);
WKM_INSTANTIATE(QuadraticMoments)
WKM_INSTANTIATE(QuarticMoments)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
