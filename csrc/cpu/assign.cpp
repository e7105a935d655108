#include "cpu/assign.h"

#include <algorithm>
#include <limits>

#include "cpu/codebook.h"
#include "cpu/isa.h"

namespace wkmeans {
namespace {

// Independent lanes that the compiler maps onto vector registers; costs are summed lane by lane, so
// the shape of the sum, and with it every bit, is the same on every instruction set.
constexpr std::int64_t kLanes = 16;

struct SearchTree {
  std::vector<double> thresholds;  // padded with infinities to a power of two minus one
  std::int64_t half;               // half of that power of two
};

SearchTree search_tree(const std::vector<double>& centroids) {
  SearchTree tree;
  label_thresholds(centroids, tree.thresholds);
  std::size_t size = 1;
  while (size < centroids.size()) size *= 2;
  tree.thresholds.resize(size - 1, std::numeric_limits<double>::infinity());
  tree.half = static_cast<std::int64_t>(size / 2);
  return tree;
}

struct LabelAndCost {
  template <class Label>
  static WKM_ALWAYS_INLINE double run(const double* weight, const double* importance,
                                      const double* quartic_importance, std::int64_t count,
                                      const double* thresholds, std::int64_t half,
                                      const double* centroids, Label* labels) {
    double sums[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      block<kLanes>(weight + i, importance + i,
                    quartic_importance ? quartic_importance + i : nullptr, thresholds, half,
                    centroids, labels + i, sums);
    }
    for (std::int64_t lane = 0; i < count; ++i, ++lane) {
      block<1>(weight + i, importance + i, quartic_importance ? quartic_importance + i : nullptr,
               thresholds, half, centroids, labels + i, sums + lane);
    }
    for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
      for (std::int64_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    }
    return sums[0];
  }

  template <std::int64_t Lanes, class Label>
  static WKM_ALWAYS_INLINE void block(const double* weight, const double* importance,
                                      const double* quartic_importance, const double* thresholds,
                                      std::int64_t half, const double* centroids, Label* labels,
                                      double* sums) {
    std::int64_t label[Lanes] = {};
    for (std::int64_t step = half; step > 0; step /= 2) {
      for (std::int64_t lane = 0; lane < Lanes; ++lane) {
        label[lane] += thresholds[label[lane] + step - 1] < weight[lane] ? step : 0;
      }
    }
    for (std::int64_t lane = 0; lane < Lanes; ++lane)
      labels[lane] = static_cast<Label>(label[lane]);
    for (std::int64_t lane = 0; lane < Lanes; ++lane) {
      const double distance = weight[lane] - centroids[label[lane]];
      const double square = distance * distance;
      double cost = importance[lane] * square;
      if (quartic_importance) cost += quartic_importance[lane] * (square * square);
      sums[lane] += cost;
    }
  }
};

}  // namespace

template <class Label>
double assign(const Problems& problems, std::int64_t problem, const std::vector<double>& centroids,
              bool unit_importance, const Parallel& parallel, Label* labels) {
  const std::int64_t n = problems.weights->n_items();
  const SearchTree tree = search_tree(centroids);
  std::vector<double> chunk_costs(static_cast<std::size_t>(chunk_count(n)));
  parallel.run_with_workers(chunk_count(n), [&] {
    return [&, items = ItemBuffer{}](std::int64_t chunk) mutable {
      const std::int64_t begin = chunk * kChunk;
      const std::int64_t count = std::min(kChunk, n - begin);
      load_items(problems, problem, begin, count, items);
      if (unit_importance) std::fill(items.importance.begin(), items.importance.end(), 1.0);
      chunk_costs[static_cast<std::size_t>(chunk)] = dispatch<LabelAndCost>(
          items.weight.data(), items.importance.data(),
          problems.quartic() && !unit_importance ? items.quartic_importance.data() : nullptr, count,
          tree.thresholds.data(), tree.half, centroids.data(), labels + begin);
    };
  });
  double cost = 0.0;
  for (const double chunk_cost : chunk_costs) cost += chunk_cost;
  return cost;
}

double assign_roundings(std::int64_t n_items) {
  constexpr std::int64_t kOfAnItem = 9;    // H (w - c)^4, added to I (w - c)^2
  constexpr std::int64_t kOfTheLanes = 4;  // added two by two
  const std::int64_t of_a_lane = std::min(n_items, kChunk) / kLanes + 1;
  return static_cast<double>(kOfAnItem + of_a_lane + kOfTheLanes + chunk_count(n_items));
}

template double assign(const Problems&, std::int64_t, const std::vector<double>&, bool,
                       const Parallel&, std::uint8_t*);
template double assign(const Problems&, std::int64_t, const std::vector<double>&, bool,
                       const Parallel&, std::uint16_t*);
template double assign(const Problems&, std::int64_t, const std::vector<double>&, bool,
                       const Parallel&, std::uint32_t*);

}  // namespace wkmeans
