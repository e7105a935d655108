#include "cpu/lagrangian/sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/base/interrupt.h"
#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"
#include "cpu/lagrangian/block_sweep.h"
#include "cpu/lagrangian/resting_sweep.h"

namespace wkmeans {

template <class Moments>
const Potentials& Sweeper<Moments>::run(const std::vector<Moments>& cells, double multiplier,
                                        const std::vector<double>& discounts) {
  const std::size_t n = cells.size();
  stop_if_interrupted();
  // Whole blocks of lanes, wherever the last one starts.
  const std::size_t stride = (n / kLanes + 2) * kLanes;
  state_.resize(FieldsOf<Moments>::Type::kCount * stride);
  candidates_.resize(stride);
  potentials_.costs.assign(stride, kInfinity);
  potentials_.previous.resize(n + 1);
  const double* earned = discounts.empty() ? nullptr : discounts.data();
  const double n_intervals =
      placement_.visit([&](auto where) { return sweep(cells, multiplier, earned, stride, where); });
  allowance_->spend(static_cast<std::size_t>(n_intervals));
  potentials_.costs.resize(n + 1);
  return potentials_;
}

template <class Moments>
template <class Where>
double Sweeper<Moments>::sweep(const std::vector<Moments>& cells, double multiplier,
                               const double* discounts, std::size_t stride, Where where) {
  const double budget = allowance_->left();
  double* costs = potentials_.costs.data();
  std::uint32_t* previous = potentials_.previous.data();
  if constexpr (Moments::kQuartic) {
    const std::size_t n_nodes = RestingBlocks::n_nodes(stride / kLanes);
    roots_.resize(stride);
    loose_.resize(stride);
    missed_.resize(QuarticFields::kCount * n_nodes);
    bounds_.resize(n_nodes);
    const Front front{
        state_.data(), stride, roots_.data(), candidates_.data(), loose_.data(), costs, 0, 0};
    const typename RestingSweep<Where>::Buffers buffers{
        front, {missed_.data(), bounds_.data(), n_nodes}, costs, previous};
    return dispatch<RestingSweep<Where>>(cells.data(), cells.size(), multiplier, discounts, budget,
                                         where, buffers);
  } else {
    const typename BlockSweep<Where>::Buffers buffers{state_.data(), stride, candidates_.data(),
                                                      costs, previous};
    return dispatch<BlockSweep<Where>>(cells.data(), cells.size(), multiplier, discounts, budget,
                                       where, buffers);
  }
}

std::vector<std::uint32_t> shortest_path(const Potentials& potentials) {
  std::vector<std::uint32_t> path{static_cast<std::uint32_t>(potentials.costs.size() - 1)};
  while (path.back() != 0) path.push_back(potentials.previous[path.back()]);
  std::reverse(path.begin(), path.end());
  return path;
}

template class Sweeper<QuadraticMoments>;
template class Sweeper<QuarticMoments>;

}  // namespace wkmeans
