#include "cpu/sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/isa.h"
#include "cpu/straddle.h"

namespace wkmeans {
namespace {

template <class Moments>
struct SweepBuffers {
  double* costs;
  std::uint32_t* previous;
  Column<Moments> lefts;    // of [start, anchor), by start
  Column<Moments> rights;   // of [anchor, anchor + 1 + i)
  Column<Moments> sampled;  // kLanes of those
  BestStarts best;          // of anchor + 1 + i, among the starts before the anchor
  BestStarts best_sampled;
};

// From the anchor on, ends are taken in blocks: the starts before it are known, and by the Monge
// property the best start moves one way only, so a sample of the ends narrows the starts that those
// between have to look at. An end whose best interval from before the anchor costs no more than the
// shortest path to any node between is done: an edge from there costs something too.
template <class Moments, class Cost>
struct SweepKernel {
  // Returns the number of intervals looked at, at most a block's more than `budget`.
  static WKM_ALWAYS_INLINE double run(const Moments* cells, std::size_t n, double multiplier,
                                      const double* discounts, double budget, Cost cost,
                                      SweepBuffers<Moments> buffers) {
    buffers.costs[0] = 0.0;
    buffers.lefts.store(Moments{}, 0);
    std::size_t anchor = 0;
    std::size_t low = 0;
    std::size_t n_ends = kLanes;
    double work = 0.0;
    while (anchor < n && work <= budget) {
      n_ends = std::min(n_ends, n - anchor);
      const Moments* ahead = cells + anchor;
      sum_rights(ahead, n_ends, buffers.rights);
      bool settled = true;
      work += find_best_starts(cost, anchor, low, n_ends, buffers, settled);
      const std::size_t n_done = settle(anchor, n, n_ends, multiplier, discounts, buffers);
      // No start has lost to a cost that is only bounded from below.
      if (settled) low = static_cast<std::size_t>(buffers.best.starts[n_done - 1]);
      advance(cells, low, anchor, anchor + n_done, buffers);
      anchor += n_done;
      n_ends = n_done == n_ends ? 2 * n_ends : n_done + n_done / 8 + 2;
    }
    return work;
  }

  // Whole blocks of lanes: the last sum is repeated.
  static WKM_ALWAYS_INLINE void sum_rights(const Moments* cells, std::size_t n_ends,
                                           const Column<Moments>& rights) {
    Moments sum = cells[0];
    rights.store(sum, 0);
    for (std::size_t i = 1; i < n_ends; ++i) {
      sum = merge(sum, cells[i]);
      rights.store(sum, i);
    }
    for (std::size_t i = n_ends; i < n_ends + kLanes; ++i) rights.store(sum, i);
  }

  // The best of the starts [first, last] for the n ends at `rights`.
  static WKM_ALWAYS_INLINE bool look_at(const Column<Moments>& rights, const BestStarts& best,
                                        std::size_t n, std::size_t first, std::size_t last,
                                        Cost cost, const SweepBuffers<Moments>& buffers) {
    const Moments left = buffers.lefts.load(first);
    for (std::size_t i = 0; i < n; ++i) {
      best.costs[i] = kInfinity;
      best.starts[i] = static_cast<double>(first);
      best.centroids[i] = mean_of(merge(left, rights.load(i)));
    }
    bool settled = true;
    for (std::size_t start = first; start <= last; ++start) {
      settled &= offer_start(buffers.lefts.load(start), buffers.costs[start],
                             static_cast<double>(start), rights, n, cost, best);
    }
    return settled;
  }

  static WKM_ALWAYS_INLINE double find_best_starts(Cost cost, std::size_t anchor, std::size_t low,
                                                   std::size_t n_ends,
                                                   const SweepBuffers<Moments>& buffers,
                                                   bool& settled) {
    const std::size_t step = (n_ends + kLanes - 1) / kLanes;
    std::size_t sample[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sample[lane] = std::min(n_ends, (lane + 1) * step) - 1;
      buffers.sampled.store(buffers.rights.load(sample[lane]), lane);
    }
    const BestStarts& coarse = buffers.best_sampled;
    const bool narrow = look_at(buffers.sampled, coarse, kLanes, low, anchor, cost, buffers);
    double work = static_cast<double>(kLanes * (anchor + 1 - low));
    settled = narrow;
    std::size_t begin = 0;
    std::size_t first = low;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::size_t end = sample[lane];
      // Of starts that tie within rounding a later end may take an earlier one.
      const auto last =
          narrow ? std::max(first, static_cast<std::size_t>(coarse.starts[lane])) : anchor;
      if (begin < end) {
        const std::size_t n = (end - begin + kLanes - 1) / kLanes * kLanes;
        settled &= look_at(buffers.rights.from(begin), buffers.best.from(begin), n, first, last,
                           cost, buffers);
        work += static_cast<double>(n * (last + 1 - first));
      }
      buffers.best.costs[end] = coarse.costs[lane];
      buffers.best.starts[end] = coarse.starts[lane];
      begin = end + 1;
      if (narrow) first = last;
    }
    return work;
  }

  // Writes the potentials of the ends that no later start can improve, at least one.
  static WKM_ALWAYS_INLINE std::size_t settle(std::size_t anchor, std::size_t n, std::size_t n_ends,
                                              double multiplier, const double* discounts,
                                              const SweepBuffers<Moments>& buffers) {
    double least_between = kInfinity;
    std::size_t n_done = 0;
    while (n_done == 0 || (n_done < n_ends && buffers.best.costs[n_done] <= least_between)) {
      const std::size_t node = anchor + n_done + 1;
      const double earned = discounts && node < n ? discounts[node] : 0.0;
      buffers.costs[node] = buffers.best.costs[n_done] + multiplier - earned;
      buffers.previous[node] = static_cast<std::uint32_t>(buffers.best.starts[n_done]);
      least_between = std::min(least_between, buffers.costs[node]);
      ++n_done;
    }
    return n_done;
  }

  // Moves the anchor.
  static WKM_ALWAYS_INLINE void advance(const Moments* cells, std::size_t low, std::size_t from,
                                        std::size_t to, const SweepBuffers<Moments>& buffers) {
    const Moments between = buffers.rights.load(to - from - 1);
    WKM_INDEPENDENT
    for (std::size_t start = low; start <= from; ++start)
      buffers.lefts.store(merge(buffers.lefts.load(start), between), start);
    Moments sum{};
    for (std::size_t start = to; start > from; --start) {
      buffers.lefts.store(sum, start);
      sum = merge(cells[start - 1], sum);
    }
  }
};

BestStarts best_starts(std::vector<double>& columns, std::size_t n_ends) {
  columns.resize(5 * n_ends);
  double* at = columns.data();
  return {at, at + n_ends, at + 2 * n_ends, at + 3 * n_ends, at + 4 * n_ends};
}

}  // namespace

template <class Moments>
const Potentials& Sweeper<Moments>::run(const std::vector<Moments>& cells, double multiplier,
                                        const std::vector<double>& discounts) {
  const std::size_t n = cells.size();
  constexpr std::size_t kFields = FieldsOf<Moments>::Type::kCount;
  const std::size_t stride = n + 1 + kLanes;
  lefts_.resize(kFields * stride);
  rights_.resize(kFields * stride);
  double sampled[kFields * kLanes];
  potentials_.costs.resize(n + 1);
  potentials_.previous.resize(n + 1);
  const SweepBuffers<Moments> buffers{
      potentials_.costs.data(),          potentials_.previous.data(), {lefts_.data(), stride},
      {rights_.data(), stride},          {sampled, kLanes},           best_starts(best_, stride),
      best_starts(best_sampled_, kLanes)};
  const double* earned = discounts.empty() ? nullptr : discounts.data();
  budget_ -=
      placement_.grid()
          ? dispatch<SweepKernel<Moments, GridCost>>(cells.data(), n, multiplier, earned, budget_,
                                                     GridCost{*placement_.grid()}, buffers)
          : dispatch<SweepKernel<Moments, FreeCost>>(cells.data(), n, multiplier, earned, budget_,
                                                     FreeCost{}, buffers);
  if (budget_ < 0.0) throw OutOfWork{};
  return potentials_;
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
