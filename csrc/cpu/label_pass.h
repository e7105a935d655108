#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/isa.h"
#include "cpu/operand.h"
#include "cpu/parallel.h"

namespace wkmeans {

// One pass over a problem's items that labels them and sums their cost, whichever way labels are
// found.

// Independent lanes that the compiler maps onto vector registers; costs are summed lane by lane, so
// the shape of the sum, and with it every bit, is the same on every instruction set.
constexpr std::int64_t kLabelLanes = 16;

// `finder.find<Lanes>(items, weights, label)`: the labels of so many weights from the `items`-th
// on.
template <class Finder>
struct LabelAndCost {
  template <class Label>
  static WKM_ALWAYS_INLINE void run(Finder finder, const double* weight, const double* importance,
                                    const double* quartic_importance, std::int64_t count,
                                    const double* centroids, Label* labels, double* sums) {
    std::int64_t i = 0;
    for (; i + kLabelLanes <= count; i += kLabelLanes) {
      block<kLabelLanes>(finder, i, weight, importance, quartic_importance, centroids, labels,
                         sums);
    }
    for (std::int64_t lane = 0; i < count; ++i, ++lane)
      block<1>(finder, i, weight, importance, quartic_importance, centroids, labels, sums + lane);
  }

  template <std::int64_t Lanes, class Label>
  static WKM_ALWAYS_INLINE void block(const Finder& finder, std::int64_t i, const double* weight,
                                      const double* importance, const double* quartic_importance,
                                      const double* centroids, Label* labels, double* sums) {
    std::int64_t label[Lanes];
    finder.template find<Lanes>(i, weight + i, label);
    for (std::int64_t lane = 0; lane < Lanes; ++lane)
      labels[i + lane] = static_cast<Label>(label[lane]);
    for (std::int64_t lane = 0; lane < Lanes; ++lane) {
      const double distance = weight[i + lane] - centroids[label[lane]];
      const double square = distance * distance;
      double cost = importance[i + lane] * square;
      if (quartic_importance) cost += quartic_importance[i + lane] * (square * square);
      sums[lane] += cost;
    }
  }
};

// Labels all items and returns their cost, in chunk order. `finder_from(begin)`: of the items from
// there on. With `unit_importance` the problem's own importances, all zero, count as 1.
template <class Label, class FinderFrom>
double label_pass(const Problems& problems, std::int64_t problem,
                  const std::vector<double>& centroids, bool unit_importance,
                  const Parallel& parallel, FinderFrom&& finder_from, Label* labels) {
  using Finder = decltype(finder_from(std::int64_t{0}));
  const std::int64_t n = problems.weights->n_items();
  const bool quartic = problems.quartic() && !unit_importance;
  std::vector<double> chunk_costs(static_cast<std::size_t>(chunk_count(n)));
  parallel.run_with_workers(chunk_count(n), [&] {
    return [&, items = ItemBuffer{}](std::int64_t chunk) mutable {
      double sums[kLabelLanes] = {};
      const std::int64_t end = std::min(n, (chunk + 1) * kChunk);
      for (std::int64_t begin = chunk * kChunk; begin < end; begin += kItemBlock) {
        const std::int64_t count = std::min(kItemBlock, end - begin);
        load_items(problems, problem, begin, count, items);
        if (unit_importance) std::fill(items.importance.begin(), items.importance.end(), 1.0);
        dispatch<LabelAndCost<Finder>>(finder_from(begin), items.weight.data(),
                                       items.importance.data(),
                                       quartic ? items.quartic_importance.data() : nullptr, count,
                                       centroids.data(), labels + begin, +sums);
      }
      for (std::int64_t width = kLabelLanes / 2; width > 0; width /= 2) {
        for (std::int64_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
      }
      chunk_costs[static_cast<std::size_t>(chunk)] = sums[0];
    };
  });
  double cost = 0.0;
  for (const double chunk_cost : chunk_costs) cost += chunk_cost;
  return cost;
}

}  // namespace wkmeans
