#include "cpu/window_paths.h"

#include <algorithm>
#include <cmath>

#include "cpu/interval_front.h"
#include "cpu/isa.h"

namespace wkmeans {
namespace {

// Relative rounding of a path's cost: generous for the few hundred cells that an interval merges.
constexpr double kTie = 1e-12;

struct Row {
  const std::size_t* first;
  std::size_t n_windows;
  const double* discounts;
};

struct Best {
  double cost;
  std::size_t start;
};

WKM_ALWAYS_INLINE double least_of(const Front& front) {
  double least[kLanes];
  std::fill(least, least + kLanes, kInfinity);
  for (std::size_t block = 0; block < front.n_blocks; ++block) {
    const double* candidates = front.candidates + front.first + kLanes * block;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      least[lane] = candidates[lane] < least[lane] ? candidates[lane] : least[lane];
    }
  }
  return *std::min_element(least, least + kLanes);
}

template <class Moments, class Cost>
struct PathKernel {
  using Fields = typename FieldsOf<Moments>::Type;

  // Intervals from each node of a window to its last one; lanes beyond start nowhere.
  static WKM_ALWAYS_INLINE void start_front(const Moments* cells, const double* costs,
                                            std::size_t n_starts, const Front& front,
                                            double* start_costs) {
    const std::size_t n_lanes = (n_starts + kLanes - 1) / kLanes * kLanes;
    std::fill(front.roots, front.roots + n_lanes, 0.0);
    std::fill(std::copy(costs, costs + n_starts, start_costs), start_costs + n_lanes, kInfinity);
    Moments outward{};
    for (std::size_t i = n_starts; i-- > 0;) {
      Fields::store(outward, front.state + i, front.stride);
      if (i > 0) outward = merge(cells[i - 1], outward);
    }
    for (std::size_t i = n_starts; i < n_lanes; ++i)
      Fields::store(Moments{}, front.state + i, front.stride);
  }

  // Returns the number of intervals looked at.
  static WKM_ALWAYS_INLINE double run(const Moments* cells, Row row, Cost cost, Front front,
                                      double* start_costs, double* costs,
                                      std::uint32_t* previous) {
    double work = 0.0;
    costs[0] = 0.0;
    previous[0] = 0;
    for (std::size_t j = 1; j < row.n_windows; ++j) {
      const std::size_t begin = row.first[j - 1];
      const std::size_t n_starts = row.first[j] - begin;
      start_front(cells + begin, costs + begin, n_starts, front, start_costs);
      const std::size_t n_blocks = (n_starts + kLanes - 1) / kLanes;
      std::size_t first = 0;
      for (std::size_t node = row.first[j]; node < row.first[j + 1]; ++node) {
        front.first = first / kLanes * kLanes;
        front.n_blocks = n_blocks - first / kLanes;
        work += static_cast<double>(kLanes * front.n_blocks);
        const bool settled = GrowFor<Moments>::Type::run(front, cells[node - 1], cost);
        const double least = least_of(front);
        // By the Monge property a start that has lost to a later one loses for good; starts that
        // tie within rounding have not lost, nor has any to a cost that is only bounded from below.
        const double lost = least + kTie * std::fabs(least);
        while (settled && first + 1 < n_starts && front.candidates[first] > lost) ++first;
        std::size_t best = front.first;
        while (best + 1 < n_starts && front.candidates[best] != least) ++best;
        previous[node] = static_cast<std::uint32_t>(begin + best);
        costs[node] = least - row.discounts[node];
      }
    }
    return work;
  }
};

}  // namespace

template <class Moments>
void WindowPaths<Moments>::run(const std::vector<std::size_t>& first,
                               const std::vector<Moments>& cells,
                               const std::vector<double>& discounts, std::vector<double>& costs) {
  std::size_t widest = 0;
  for (std::size_t j = 0; j + 1 < first.size(); ++j)
    widest = std::max(widest, first[j + 1] - first[j]);
  const std::size_t stride = (widest / kLanes + 1) * kLanes;
  state_.resize(FieldsOf<Moments>::Type::kCount * stride);
  for (auto* column : {&roots_, &candidates_, &excess_, &start_costs_}) column->resize(stride);
  costs.resize(cells.size() + 1);
  previous_.resize(cells.size() + 1);
  const Front front{state_.data(),  stride,           roots_.data(),
                    candidates_.data(), excess_.data(), start_costs_.data(),
                    0,                  0};
  const Row row{first.data(), first.size() - 1, discounts.data()};
  work_ += placement_.grid()
               ? dispatch<PathKernel<Moments, GridCost>>(
                     cells.data(), row, GridCost{*placement_.grid()}, front, start_costs_.data(),
                     costs.data(), previous_.data())
               : dispatch<PathKernel<Moments, FreeCost>>(cells.data(), row, FreeCost{}, front,
                                                         start_costs_.data(), costs.data(),
                                                         previous_.data());
}

template <class Moments>
const std::vector<double>& WindowPaths<Moments>::run_forward(
    const Windows<Moments>& windows, const std::vector<double>& discounts) {
  run(windows.first, windows.cells, discounts, forward_);
  return forward_;
}

template <class Moments>
const std::vector<double>& WindowPaths<Moments>::run_backward(
    const Windows<Moments>& windows, const std::vector<double>& discounts) {
  std::vector<std::size_t> first(windows.first.rbegin(), windows.first.rend());
  for (std::size_t& node : first) node = windows.n_nodes() - node;
  run(first, {windows.cells.rbegin(), windows.cells.rend()},
      {discounts.rbegin(), discounts.rend()}, backward_);
  std::reverse(backward_.begin(), backward_.end());
  return backward_;
}

template <class Moments>
std::vector<std::size_t> WindowPaths<Moments>::shortest_path(
    const Windows<Moments>& windows) const {
  std::vector<std::size_t> nodes(windows.size());
  std::size_t node = windows.n_nodes() - 1;
  for (std::size_t j = windows.size(); j-- > 0; node = previous_[node]) nodes[j] = node;
  return nodes;
}

template class WindowPaths<QuadraticMoments>;
template class WindowPaths<QuarticMoments>;

}  // namespace wkmeans
