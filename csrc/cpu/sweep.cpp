#include "cpu/sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/block_sweep.h"
#include "cpu/interval_front.h"
#include "cpu/isa.h"

namespace wkmeans {
namespace {

// A sweep over cells with quartic moments, one end at a time: an interval's centroid is found from
// that of the interval one cell shorter.
template <class Cost>
struct FrontSweep {
  // Returns the number of intervals looked at, at most a step's more than `budget`.
  static WKM_ALWAYS_INLINE double run(const QuarticMoments* cells, std::size_t n, double multiplier,
                                      const double* discounts, double budget, Cost cost,
                                      Front front, double* costs, std::uint32_t* previous) {
    costs[0] = 0.0;
    std::size_t first = 0;
    double work = 0.0;
    for (std::size_t i = 0; i < n && work <= budget; ++i) {
      QuarticFields::store(QuarticMoments{}, front.state + i, front.stride);
      front.roots[i] = 0.0;
      front.first = first / kLanes * kLanes;
      front.n_blocks = (i - front.first) / kLanes + 1;
      work += static_cast<double>(kLanes * front.n_blocks);
      const bool settled = GrowQuartic::run(front, cells[i], cost);
      const double least = least_candidate(front);
      // By the Monge property a start that has lost to a later one loses for good; starts that tie
      // within rounding have not lost, nor has any to a cost that is only bounded from below.
      const double lost = least + kTie * (std::fabs(least) + multiplier);
      while (settled && first < i && front.candidates[first] > lost) ++first;
      std::size_t best = front.first;
      while (best < i && front.candidates[best] != least) ++best;
      previous[i + 1] = static_cast<std::uint32_t>(best);
      costs[i + 1] = least + multiplier - (discounts && i + 1 < n ? discounts[i + 1] : 0.0);
    }
    return work;
  }
};

}  // namespace

template <class Moments>
const Potentials& Sweeper<Moments>::run(const std::vector<Moments>& cells, double multiplier,
                                        const std::vector<double>& discounts) {
  const std::size_t n = cells.size();
  // Whole blocks of lanes, wherever the last one starts.
  const std::size_t stride = (n / kLanes + 2) * kLanes;
  state_.resize(FieldsOf<Moments>::Type::kCount * stride);
  candidates_.resize(stride);
  potentials_.costs.assign(stride, kInfinity);
  potentials_.previous.resize(n + 1);
  const double* earned = discounts.empty() ? nullptr : discounts.data();
  budget_ -= placement_.grid()
                 ? sweep(cells, multiplier, earned, stride, GridCost{*placement_.grid()})
                 : sweep(cells, multiplier, earned, stride, FreeCost{});
  if (budget_ < 0.0) throw OutOfWork{};
  potentials_.costs.resize(n + 1);
  return potentials_;
}

template <class Moments>
template <class Cost>
double Sweeper<Moments>::sweep(const std::vector<Moments>& cells, double multiplier,
                               const double* discounts, std::size_t stride, Cost cost) {
  double* costs = potentials_.costs.data();
  std::uint32_t* previous = potentials_.previous.data();
  if constexpr (Moments::kQuartic) {
    std::fill(state_.begin(), state_.end(), 0.0);
    roots_.assign(stride, 0.0);
    excess_.resize(stride);
    const Front front{
        state_.data(), stride, roots_.data(), candidates_.data(), excess_.data(), costs, 0, 0};
    return dispatch<FrontSweep<Cost>>(cells.data(), cells.size(), multiplier, discounts, budget_,
                                      cost, front, costs, previous);
  } else {
    const typename BlockSweep<Cost>::Buffers buffers{state_.data(), stride, candidates_.data(),
                                                     costs, previous};
    return dispatch<BlockSweep<Cost>>(cells.data(), cells.size(), multiplier, discounts, budget_,
                                      cost, buffers);
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
