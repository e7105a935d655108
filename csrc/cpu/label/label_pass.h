#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/base/isa.h"
#include "cpu/base/items.h"
#include "cpu/base/parallel.h"
#include "math/item_cost.h"

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
  template <class Real, class Label>
  static WKM_ALWAYS_INLINE void run(Finder finder, ItemRun<Real> items, const double* centroids,
                                    Label* labels, double* sums) {
    std::int64_t i = 0;
    for (; i + kLabelLanes <= items.count; i += kLabelLanes)
      block<kLabelLanes>(finder, i, items, centroids, labels, sums);
    for (std::int64_t lane = 0; i < items.count; ++i, ++lane)
      block<1>(finder, i, items, centroids, labels, sums + lane);
  }

  template <std::int64_t Lanes, class Real, class Label>
  static WKM_ALWAYS_INLINE void block(const Finder& finder, std::int64_t i,
                                      const ItemRun<Real>& items, const double* centroids,
                                      Label* labels, double* sums) {
    double weight[Lanes];
    for (std::int64_t lane = 0; lane < Lanes; ++lane)
      weight[lane] = static_cast<double>(items.weight[i + lane]);
    std::int64_t label[Lanes];
    finder.template find<Lanes>(i, weight, label);
    for (std::int64_t lane = 0; lane < Lanes; ++lane)
      labels[i + lane] = static_cast<Label>(label[lane]);
    for (std::int64_t lane = 0; lane < Lanes; ++lane) {
      const double distance = weight[lane] - centroids[label[lane]];
      const auto importance = static_cast<double>(items.importance[i + lane]);
      sums[lane] += items.quartic_importance
                        ? item_cost(distance, importance,
                                    static_cast<double>(items.quartic_importance[i + lane]))
                        : item_cost(distance, importance);
    }
  }
};

template <class Real, class Label, class FinderFrom>
double label_pass_as(const Problems& problems, std::int64_t problem,
                     const std::vector<double>& centroids, bool unit_importance,
                     const Parallel& parallel, FinderFrom&& finder_from, Label* labels) {
  using Finder = decltype(finder_from(std::int64_t{0}));
  const std::int64_t n = problems.weights->n_items();
  const std::vector<Real> ones(unit_importance ? kItemBlock : 0, Real{1});
  std::vector<double> chunk_costs(static_cast<std::size_t>(chunk_count(n)));
  parallel.run_with_workers(chunk_count(n), [&] {
    return [&, reader = ItemReader<Real>{}](std::int64_t chunk) mutable {
      double sums[kLabelLanes] = {};
      const std::int64_t end = std::min(n, (chunk + 1) * kChunk);
      for (std::int64_t begin = chunk * kChunk; begin < end; begin += kItemBlock) {
        const std::int64_t count = std::min(kItemBlock, end - begin);
        ItemRun<Real> items = reader.read(problems, problem, begin, count);
        if (unit_importance) {
          items.importance = ones.data();
          items.quartic_importance = nullptr;
        }
        dispatch<LabelAndCost<Finder>>(finder_from(begin), items, centroids.data(), labels + begin,
                                       +sums);
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

// Labels all items and returns their cost, in chunk order. `finder_from(begin)`: of the items from
// there on. With `unit_importance` the problem's own importances, all zero, count as 1.
template <class Label, class FinderFrom>
double label_pass(const Problems& problems, std::int64_t problem,
                  const std::vector<double>& centroids, bool unit_importance,
                  const Parallel& parallel, FinderFrom&& finder_from, Label* labels) {
  double cost = 0.0;
  with_real(problems, [&](auto real) {
    cost = label_pass_as<decltype(real)>(problems, problem, centroids, unit_importance, parallel,
                                         finder_from, labels);
  });
  return cost;
}

}  // namespace wkmeans
