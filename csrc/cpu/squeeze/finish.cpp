#include "cpu/squeeze/finish.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cpu/intervals/front.h"
#include "cpu/intervals/leaf_sums.h"
#include "cpu/intervals/pyramid.h"

namespace wkmeans {
namespace {

constexpr std::size_t kMostIntervals = std::size_t{1} << 20;
// Of sums of as many moments and costs as a small problem has, generously.
constexpr double kRounding = 1e-12;

template <class Moments>
struct GrowOnce {
  static WKM_ALWAYS_INLINE void run(Front front, Moments cell) {
    GrowFor<Moments>::Type::run(front, cell, Anywhere{});
  }
};

template <class Moments>
class BorderPaths {
public:
  BorderPaths(const Points& points, const std::vector<std::size_t>& borders,
              const std::vector<Positions>& ranges)
      : moments_(points), borders_(borders), ranges_(ranges) {}

  std::size_t n_intervals() const {
    std::size_t count = 0;
    for (std::size_t j = 1; j < ranges_.size(); ++j) {
      count += ranges_[j - 1].size() * (ranges_[j - 1].size() + ranges_[j].size());
    }
    return count;
  }

  SqueezedOptimum<Moments> run() {
    const std::size_t k = ranges_.size() - 1;
    if (are_single()) return only_one();
    std::vector<double> least{0.0};
    best_.resize(k + 1);
    for (std::size_t j = 1; j <= k; ++j) least = take_edge(j, least);
    SqueezedOptimum<Moments> optimum;
    optimum.boundaries.resize(k);
    std::size_t node = ranges_[k].last;
    for (std::size_t j = k; j > 0; --j) {
      optimum.boundaries[j - 1] = borders_[node];
      node = best_[j][node - ranges_[j].first];
    }
    sum_clusters(optimum);
    optimum.lower_bound = std::min(least.back() * (1.0 - kRounding), optimum.cost);
    return optimum;
  }

private:
  bool are_single() const {
    return std::all_of(ranges_.begin(), ranges_.end(),
                       [](const Positions& range) { return range.size() == 1; });
  }

  SqueezedOptimum<Moments> only_one() const {
    SqueezedOptimum<Moments> optimum;
    for (std::size_t j = 1; j < ranges_.size(); ++j) {
      optimum.boundaries.push_back(borders_[ranges_[j].first]);
    }
    sum_clusters(optimum);
    optimum.lower_bound = optimum.cost * (1.0 - 3.0 * kRounding);
    return optimum;
  }

  void sum_clusters(SqueezedOptimum<Moments>& optimum) const {
    double cost = 0.0;
    std::size_t begin = 0;
    for (const std::size_t end : optimum.boundaries) {
      optimum.clusters.push_back(moments_.range(begin, end));
      cost += centre(optimum.clusters.back()).cost;
      begin = end;
    }
    optimum.cost = cost * (1.0 + kRounding);
  }

  // The least cost of j clusters up to each node of range j, from those of one less. Starts enter
  // one by one; what lies between the ranges is one cell.
  std::vector<double> take_edge(std::size_t j, const std::vector<double>& before) {
    const Positions from = ranges_[j - 1];
    const Positions to = ranges_[j];
    const std::size_t stride = (from.size() + kLanes - 1) / kLanes * kLanes;
    state_.assign(FieldsOf<Moments>::Type::kCount * stride, 0.0);
    roots_.assign(stride, 0.0);
    loose_.assign(stride, 0.0);
    candidates_.assign(stride, 0.0);
    costs_.assign(stride, kInfinity);
    const Front front{state_.data(), stride, roots_.data(),  candidates_.data(), loose_.data(),
                      costs_.data(), 0,      stride / kLanes};
    std::vector<double> least(to.size(), kInfinity);
    best_[j].assign(to.size(), from.first);
    for (std::size_t node = from.first; node < to.last;) {
      if (node <= from.last) enter(front, node - from.first, before[node - from.first]);
      const std::size_t next = node >= from.last && node < to.first ? to.first : node + 1;
      dispatch<GrowOnce<Moments>>(front, moments_.range(borders_[node], borders_[next]));
      node = next;
      if (node < to.first) continue;
      const std::size_t n_starts = std::min(node - 1, from.last) - from.first + 1;
      const auto* cheapest = std::min_element(candidates_.data(), candidates_.data() + n_starts);
      least[node - to.first] = *cheapest;
      best_[j][node - to.first] =
          from.first + static_cast<std::size_t>(cheapest - candidates_.data());
    }
    return least;
  }

  void enter(const Front& front, std::size_t start, double cost) {
    FieldsOf<Moments>::Type::store(Moments{}, front.state + start, front.stride);
    front.roots[start] = 0.0;
    costs_[start] = cost;
  }

  const DirectMoments<Moments> moments_;
  const std::vector<std::size_t>& borders_;
  const std::vector<Positions>& ranges_;
  std::vector<std::vector<std::size_t>> best_;  // the start before each node of range j
  std::vector<double> state_, roots_, loose_, candidates_, costs_;
};

}  // namespace

template <class Moments>
std::optional<SqueezedOptimum<Moments>> cheapest_within(const Points& points,
                                                        const std::vector<std::size_t>& borders,
                                                        const std::vector<Positions>& ranges) {
  BorderPaths<Moments> paths(points, borders, ranges);
  if (paths.n_intervals() > kMostIntervals) return std::nullopt;
  return paths.run();
}

template std::optional<SqueezedOptimum<QuadraticMoments>> cheapest_within(
    const Points&, const std::vector<std::size_t>&, const std::vector<Positions>&);
template std::optional<SqueezedOptimum<QuarticMoments>> cheapest_within(
    const Points&, const std::vector<std::size_t>&, const std::vector<Positions>&);

}  // namespace wkmeans
