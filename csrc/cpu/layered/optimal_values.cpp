#include "cpu/layered/optimal_values.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/base/interrupt.h"
#include "math/nearest.h"

namespace wkmeans {
namespace {

constexpr std::size_t kMostValues = 512;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double value_above(const CentroidGrid& grid, double value) {
  if (value >= 0.0) return value + grid.step_at(value);
  // Towards zero: where a binade begins, the step behind it is the finer one.
  const double magnitude = -value;
  return -(magnitude - grid.step_at(std::nextafter(magnitude, 0.0)));
}

// Those among which the points lie; none where they are too many.
std::vector<double> values_around(const Points& points, const CentroidGrid& grid) {
  const double last = grid.at_or_above(points.high(points.size() - 1));
  const std::size_t most = std::min(kMostValues, points.size());
  std::vector<double> values{grid.at_or_below(points.low(0)) + 0.0};
  while (values.back() < last && values.size() <= most)
    values.push_back(value_above(grid, values.back()) + 0.0);
  if (values.size() > most) values.clear();
  return values;
}

template <class Moments>
class ValuePaths {
public:
  ValuePaths(const Points& points, const Pyramid<Moments>& pyramid, std::vector<double> values)
      : points_(points), pyramid_(pyramid), values_(std::move(values)) {
    for (const double value : values_) {
      ends_.push_back(first_above(value, ends_.empty() ? 0 : ends_.back(), points_.size()));
    }
    for (std::size_t t = 0; t + 1 < size(); ++t) cells_.push_back(range(ends_[t], ends_[t + 1]));
    before_ = range(0, ends_.front());
    behind_ = range(ends_.back(), points_.size());
    sums_behind_.assign(size(), {0.0});
    sums_before_.assign(size(), {0.0});
    edges_.assign(size() * size(), -1.0);
    if (points_.pin != kNoPoint) {
      const auto zero = std::find(values_.begin(), values_.end(), 0.0);
      zero_ = static_cast<std::size_t>(zero - values_.begin());
    }
  }

  // What some codebook of k values costs.
  double fair_cost(std::size_t k) const {
    const std::vector<double> codebook = fair_codebook(k);
    double cost = 0.0;
    std::size_t begin = 0;
    for (std::size_t j = 0; j < codebook.size(); ++j) {
      const std::size_t end =
          j + 1 < codebook.size()
              ? first_above(split_point(codebook[j], codebook[j + 1]), begin, points_.size())
              : points_.size();
      cost += cost_about(range(begin, end), codebook[j]);
      begin = end;
    }
    return cost;
  }

  double cost_of_one() const {
    const Moments all = range(0, points_.size());
    double least = kInfinity;
    for (const double value : values_) least = std::min(least, cost_about(all, value));
    return least;
  }

  OptimalValues run(std::size_t k, double limit) {
    // What exceeds the cost of a codebook is on no path to a better one.
    limit_ = limit * (1.0 + kGenerous);
    std::vector<double> reached(size());
    std::vector<double> rest(size());
    for (std::size_t v = 0; v < size(); ++v) {
      const bool before_zero = zero_ != kNowhere && v < zero_;
      const bool behind_zero = zero_ != kNowhere && v > zero_;
      reached[v] = behind_zero ? kInfinity : about(before_, values_[v]) + sum_before(v, v);
      rest[v] =
          before_zero ? kInfinity : about(behind_, values_[v]) + sum_behind(v, cells_.size() - v);
    }
    std::vector<std::vector<std::uint16_t>> previous(1);
    OptimalValues optimum;
    std::size_t best_layer = 0;
    std::size_t best_last = 0;
    double least = kInfinity;
    for (std::size_t layer = 0; layer < k; ++layer) {
      if (layer >= size()) {  // they are all in the codebook
        optimum.costs.push_back(least);
        continue;
      }
      if (layer > 0) {
        next_.assign(size(), kInfinity);
        previous.emplace_back(size(), std::uint16_t{0});
        take_edge({layer, size() - 1, layer - 1, size() - 2}, reached, previous.back());
        reached.swap(next_);
      }
      for (std::size_t v = 0; v < size(); ++v) {
        // Fewer values that cost the same leave none without a point.
        if (!(reached[v] + rest[v] < least)) continue;
        least = reached[v] + rest[v];
        best_layer = layer;
        best_last = v;
      }
      optimum.costs.push_back(least);
    }
    for (std::size_t layer = best_layer, v = best_last;; v = previous[layer--][v]) {
      optimum.values.insert(optimum.values.begin(), values_[v]);
      if (layer == 0) break;
    }
    const auto n_values = static_cast<double>(size());
    optimum.lower_bound = least * (1.0 - (kRounding + kRoundingOfAValue * n_values));
    return optimum;
  }

private:
  static constexpr double kGenerous = 1e-9;
  static constexpr double kRounding = 1e-12;  // of merged moments and costs, as elsewhere
  static constexpr double kRoundingOfAValue = 1e-15;
  static constexpr double kTie = 1e-14;
  static constexpr auto kNowhere = static_cast<std::size_t>(-1);
  static constexpr std::size_t kStepsOfARow = 64;

  std::size_t size() const { return values_.size(); }
  Moments range(std::size_t begin, std::size_t end) const {
    return begin < end ? pyramid_.range(begin, end) : Moments{};
  }
  static double about(const Moments& moments, double value) {
    return moments.empty() ? 0.0 : cost_about(moments, value);
  }
  // The first of points [begin, end) above the threshold.
  std::size_t first_above(double threshold, std::size_t begin, std::size_t end) const {
    const auto first = points_.weight.begin();
    return static_cast<std::size_t>(std::upper_bound(first + static_cast<std::ptrdiff_t>(begin),
                                                     first + static_cast<std::ptrdiff_t>(end),
                                                     threshold) -
                                    first);
  }

  // One value from the middle of each of k shares of about equal measure, and zero where it is
  // pinned.
  std::vector<double> fair_codebook(std::size_t k) const {
    std::vector<double> measures;
    double total = 0.0;
    for (std::size_t t = 0; t + 1 < size(); ++t) {
      const double width = values_[t + 1] - values_[t];
      const bool holds_pin = ends_[t] <= points_.pin && points_.pin < ends_[t + 1];
      const SecondMoments pulls = blend_of(cells_[t], width * width);
      measures.push_back(holds_pin ? 0.0 : std::cbrt(pulls.mass * (width * width)));
      total += measures.back();
    }
    std::vector<double> codebook;
    double measured = 0.0;
    for (std::size_t t = 0; t < size() && codebook.size() < k; ++t) {
      const double wanted = total * (static_cast<double>(codebook.size()) + 0.5);
      if (measured * static_cast<double>(k) >= wanted) codebook.push_back(values_[t]);
      if (t < measures.size()) measured += measures[t];
    }
    if (codebook.empty()) codebook.push_back(values_.back());
    if (points_.pin == kNoPoint) return codebook;
    *std::min_element(codebook.begin(), codebook.end(),
                      [](double a, double b) { return std::fabs(a) < std::fabs(b); }) = 0.0;
    return codebook;
  }

  static SecondMoments blend_of(const QuadraticMoments& m, double /*square*/) {
    return m.quadratic;
  }
  static SecondMoments blend_of(const QuarticMoments& m, double square) {
    return {m.quadratic.mass + m.quartic.mass * square, 0.0, 0.0, 0.0};
  }

  // Of the n cells behind value v, and of the n before it, about that value.
  double sum_behind(std::size_t v, std::size_t n) {
    std::vector<double>& sums = sums_behind_[v];
    while (sums.size() <= n)
      sums.push_back(sums.back() + about(cells_[v + sums.size() - 1], values_[v]));
    return sums[n];
  }
  double sum_before(std::size_t v, std::size_t n) {
    std::vector<double>& sums = sums_before_[v];
    while (sums.size() <= n)
      sums.push_back(sums.back() + about(cells_[v - sums.size()], values_[v]));
    return sums[n];
  }

  // What lies between values u < v of a codebook that are neighbours there.
  double edge(std::size_t u, std::size_t v) {
    double& known = edges_[u * size() + v];
    if (known >= 0.0) return known;
    if (zero_ != kNowhere && u < zero_ && zero_ < v) return known = kInfinity;
    const double threshold = split_point(values_[u], values_[v]);
    const auto from = values_.begin() + static_cast<std::ptrdiff_t>(u);
    const auto next = static_cast<std::size_t>(
        std::upper_bound(from, values_.begin() + static_cast<std::ptrdiff_t>(v), threshold) -
        values_.begin());
    const std::size_t begin = ends_[next - 1];
    const std::size_t end = ends_[next];
    const std::size_t middle = first_above(threshold, begin, end);
    known = (sum_behind(u, next - 1 - u) + sum_before(v, v - next)) +
            (about(range(begin, middle), values_[u]) + about(range(middle, end), values_[v]));
    return known;
  }

  // Values first_row to last_row, whose best predecessors lie between two columns.
  struct Block {
    std::size_t first_row, last_row;
    std::size_t first_column, last_column;
  };

  // By the Monge property the predecessors of values on either side lie on the same side of this
  // one's own; those that tie within rounding all count as its own. Where one is chosen that is not
  // the best, the Monge inequality bounds what that loses by the tie.
  void take_edge(const Block& block, const std::vector<double>& reached,
                 std::vector<std::uint16_t>& previous) {
    const std::size_t row = block.first_row + (block.last_row - block.first_row) / 2;
    const std::size_t last = std::min(block.last_column, row - 1);
    std::size_t first_tied = last;
    std::size_t last_tied = last;
    double best = kInfinity;
    for (std::size_t u = last + 1; u-- > block.first_column;) {
      const double of_edge = edge(u, row);
      if (of_edge > limit_) break;  // values further off are no nearer to what lies between
      const double cost = reached[u] + of_edge;
      if (cost * (1.0 + kTie) < best) last_tied = u;
      if (cost <= best * (1.0 + kTie)) first_tied = u;
      if (!(cost < best)) continue;
      best = cost;
      previous[row] = static_cast<std::uint16_t>(u);
    }
    next_[row] = best;
    stop_if_interrupted_after(kStepsOfARow);
    // Where no path is short enough any column may be another's best.
    if (best == kInfinity) {
      first_tied = block.first_column;
      last_tied = last;
    }
    if (row > block.first_row)
      take_edge({block.first_row, row - 1, block.first_column, last_tied}, reached, previous);
    if (row < block.last_row)
      take_edge({row + 1, block.last_row, first_tied, block.last_column}, reached, previous);
  }

  const Points& points_;
  const Pyramid<Moments>& pyramid_;
  const std::vector<double> values_;
  std::vector<std::size_t> ends_;  // of the points up to each value
  std::vector<Moments> cells_;     // of those between each value and the next
  Moments before_{}, behind_{};    // of those up to the first and beyond the last
  std::size_t zero_ = kNowhere;    // where it is pinned: in every codebook, whatever it saves
  double limit_ = kInfinity;
  std::vector<std::vector<double>> sums_behind_, sums_before_;  // as far as they were asked for
  std::vector<double> edges_;                                   // [u][v]; negative: not asked for
  std::vector<double> next_;
};

}  // namespace

template <class Moments>
std::optional<OptimalValues> optimal_values(const Points& points, const Pyramid<Moments>& pyramid,
                                            const CentroidGrid& grid, std::size_t k, Want want) {
  std::vector<double> values = values_around(points, grid);
  if (values.empty()) return std::nullopt;
  ValuePaths<Moments> paths(points, pyramid, std::move(values));
  return paths.run(k, want == Want::costs ? paths.cost_of_one() : paths.fair_cost(k));
}

template std::optional<OptimalValues> optimal_values(const Points&,
                                                     const Pyramid<QuadraticMoments>&,
                                                     const CentroidGrid&, std::size_t, Want);
template std::optional<OptimalValues> optimal_values(const Points&, const Pyramid<QuarticMoments>&,
                                                     const CentroidGrid&, std::size_t, Want);

}  // namespace wkmeans
