#include "cpu/descent/window_paths.h"

#include <algorithm>
#include <cmath>

#include "cpu/base/interrupt.h"
#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"
#include "math/range.h"

namespace wkmeans {
namespace {

struct Row {
  const std::size_t* first;
  std::size_t n_windows;
  const double* discounts;
};

// Intervals from many nodes of one window to one node of the next: the points from each start on to
// the window's last node, a column a field, and those from there to the end. All add up outward
// from between the windows.
template <class Moments>
struct Join;

template <>
struct Join<QuadraticMoments> {
  template <class Where>
  static WKM_ALWAYS_INLINE void run(const double* starts, QuadraticMoments end, Front front,
                                    Where where) {
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < kLanes * front.n_blocks; ++i) {
      const std::size_t p = front.first + i;
      const QuadraticMoments moments = merge(QuadraticFields::load(starts + p, front.stride), end);
      const SecondMoments& m = moments.quadratic;
      front.candidates[p] =
          front.costs[p] + where.cost_near(moments, m.origin + m.offset, m.second);
    }
  }
};

template <>
struct Join<QuarticMoments> {
  template <class Where>
  static WKM_ALWAYS_INLINE void run(const double* starts, QuarticMoments end, Front front,
                                    Where where) {
    WKM_INDEPENDENT
    for (std::size_t i = 0; i < kLanes * front.n_blocks; ++i) {
      const std::size_t p = front.first + i;
      QuarticFields::store(merge(QuarticFields::load(starts + p, front.stride), end),
                           front.state + p, front.stride);
    }
    GrowQuartic::settle(front, where);
  }
};

WKM_ALWAYS_INLINE std::uint32_t first_at(const Front& front, double candidate) {
  const std::size_t last = front.first + kLanes * front.n_blocks - 1;
  std::size_t at = front.first;
  while (at < last && front.candidates[at] != candidate) ++at;
  return static_cast<std::uint32_t>(at);
}

// Nodes of a window that still look for their best starts, and where these lie.
struct Halving {
  Range<> nodes;
  Positions starts;
};
constexpr std::size_t kMostHalvings = 64;

// What becomes known of a window's nodes.
struct Reached {
  double* costs;
  std::uint32_t* previous;  // or nothing
  const double* discounts;
  std::uint32_t first_start;
};

template <class Moments, class Where>
struct PathKernel {
  using Fields = typename FieldsOf<Moments>::Type;

  // From each of a window's nodes to its last one. Lanes beyond them start nowhere.
  static WKM_ALWAYS_INLINE void gather_starts(const Moments* cells, const double* costs,
                                              std::size_t n_starts, const Front& front,
                                              double* starts, double* start_costs) {
    const std::size_t n_lanes = (n_starts + kLanes - 1) / kLanes * kLanes;
    std::fill(front.roots, front.roots + n_lanes, 0.0);
    std::fill(std::copy(costs, costs + n_starts, start_costs), start_costs + n_lanes, kInfinity);
    Moments outward{};
    for (std::size_t i = n_starts; i-- > 0;) {
      Fields::store(outward, starts + i, front.stride);
      if (i > 0) outward = merge(cells[i - 1], outward);
    }
    for (std::size_t i = n_starts; i < n_lanes; ++i)
      Fields::store(Moments{}, starts + i, front.stride);
  }

  // Paths to every node of a window from the starts in the one before. Returns the number of
  // intervals looked at.
  static WKM_ALWAYS_INLINE double reach(const double* starts, const Moments* ends,
                                        const Halving& whole, Where where, Front front,
                                        Reached to) {
    double work = 0.0;
    Halving stack[kMostHalvings];
    std::size_t depth = 0;
    stack[depth++] = whole;
    while (depth > 0) {
      const auto [nodes, starting] = stack[--depth];
      const std::size_t i = nodes.begin + nodes.size() / 2;
      front.first = starting.first / kLanes * kLanes;
      front.n_blocks = starting.last / kLanes + 1 - starting.first / kLanes;
      work += static_cast<double>(kLanes * front.n_blocks);
      stop_if_interrupted_after(kLanes * front.n_blocks);
      Join<Moments>::run(starts, ends[i], front, where);
      const double least = least_candidate(front);
      to.costs[i] = least - to.discounts[i];
      if (to.previous) to.previous[i] = to.first_start + first_at(front, least);
      if (nodes.size() == 1) continue;
      // Lemma 2: nodes before this one have no better start beyond its own, those after it none
      // before. Starts that tie within rounding all count as its own.
      const double lost = least + kTie * std::fabs(least);
      std::size_t first = starting.first;
      std::size_t last = starting.last;
      while (first < last && front.candidates[first] > lost) ++first;
      while (last > first && front.candidates[last] > lost) --last;
      if (nodes.begin < i) stack[depth++] = Halving{{nodes.begin, i}, {starting.first, last}};
      if (i + 1 < nodes.end) stack[depth++] = Halving{{i + 1, nodes.end}, {first, starting.last}};
    }
    return work;
  }

  static WKM_ALWAYS_INLINE double run(const Moments* cells, Row row, Where where, Front front,
                                      double* starts, double* start_costs, Moments* ends,
                                      double* costs, std::uint32_t* previous) {
    double work = 0.0;
    costs[0] = 0.0;
    for (std::size_t j = 1; j < row.n_windows; ++j) {
      const std::size_t begin = row.first[j - 1];
      const std::size_t middle = row.first[j];
      const std::size_t n_ends = row.first[j + 1] - middle;
      gather_starts(cells + begin, costs + begin, middle - begin, front, starts, start_costs);
      ends[0] = cells[middle - 1];
      for (std::size_t i = 1; i < n_ends; ++i) ends[i] = merge(ends[i - 1], cells[middle + i - 1]);
      const Reached to{costs + middle, previous ? previous + middle : nullptr,
                       row.discounts + middle, static_cast<std::uint32_t>(begin)};
      work += reach(starts, ends, {{0, n_ends}, {0, middle - begin - 1}}, where, front, to);
    }
    return work;
  }
};

}  // namespace

template <class Moments>
void WindowPaths<Moments>::run(const std::vector<std::size_t>& first,
                               const std::vector<Moments>& cells,
                               const std::vector<double>& discounts, std::vector<double>& costs,
                               std::uint32_t* previous) {
  std::size_t widest = 0;
  for (std::size_t j = 0; j + 1 < first.size(); ++j)
    widest = std::max(widest, first[j + 1] - first[j]);
  const std::size_t stride = (widest / kLanes + 1) * kLanes;
  for (auto* columns : {&state_, &starts_})
    columns->resize(FieldsOf<Moments>::Type::kCount * stride);
  ends_.resize(stride);
  for (auto* column : {&roots_, &candidates_, &loose_, &start_costs_}) column->resize(stride);
  costs.resize(cells.size() + 1);
  const Front front{state_.data(),
                    stride,
                    roots_.data(),
                    candidates_.data(),
                    loose_.data(),
                    start_costs_.data(),
                    0,
                    0};
  const Row row{first.data(), first.size() - 1, discounts.data()};
  work_ += placement_.visit([&](auto where) {
    return dispatch<PathKernel<Moments, decltype(where)>>(cells.data(), row, where, front,
                                                          starts_.data(), start_costs_.data(),
                                                          ends_.data(), costs.data(), previous);
  });
}

template <class Moments>
const std::vector<double>& WindowPaths<Moments>::run_forward(const Strips<Moments>& windows,
                                                             const std::vector<double>& discounts) {
  previous_.assign(windows.n_nodes(), 0);
  run(windows.first, windows.cells, discounts, forward_, previous_.data());
  return forward_;
}

template <class Moments>
const std::vector<double>& WindowPaths<Moments>::run_backward(
    const Strips<Moments>& windows, const std::vector<double>& discounts) {
  std::vector<std::size_t> first(windows.first.rbegin(), windows.first.rend());
  for (std::size_t& node : first) node = windows.n_nodes() - node;
  run(first, {windows.cells.rbegin(), windows.cells.rend()}, {discounts.rbegin(), discounts.rend()},
      backward_, nullptr);
  std::reverse(backward_.begin(), backward_.end());
  return backward_;
}

template <class Moments>
std::vector<std::size_t> WindowPaths<Moments>::shortest_path(const Strips<Moments>& windows) const {
  std::vector<std::size_t> nodes(windows.size());
  std::size_t node = windows.n_nodes() - 1;
  for (std::size_t j = windows.size(); j-- > 0; node = previous_[node]) nodes[j] = node;
  return nodes;
}

template class WindowPaths<QuadraticMoments>;
template class WindowPaths<QuarticMoments>;

}  // namespace wkmeans
