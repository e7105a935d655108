#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/cluster/certificate.h"
#include "cpu/cluster/cluster.h"
#include "cpu/read/histogram.h"
#include "cuda/batch_outputs.h"
#include "cuda/device/tiles.h"
#include "cuda/items/item_count.h"
#include "cuda/large/count_halves.h"
#include "cuda/large/label_item.h"
#include "cuda/large/solve_sorted.h"
#include "cuda/large/sorted_items.h"
#include "math/compensated_sum.h"

// One problem after another, each as large as memory allows, wherever `Backend` computes: a CUDA
// stream, or the host in tests.
namespace wkmeans::cuda {

// ask(weights, items): of the items of a problem, sorted; where none carries importance, each
// counts 1, and importances are absent from the items passed on.
template <class Key, class Moments, class Backend, class Ask>
auto with_sorted_as(Backend& backend, const ItemColumns& items, std::uint64_t first_index,
                    Ask&& ask) {
  {
    SortedItems<Backend, Key, Moments> sorted(backend, items, first_index);
    if (sorted.size() > 0) return ask(sorted, items);
  }
  ItemColumns unit = items;
  unit.importance = {nullptr, 0, ItemType::float64, 1.0};
  unit.quartic_importance = {nullptr, 0, ItemType::float64, 0.0};
  SortedItems<Backend, Key, QuadraticMoments> sorted(backend, unit, first_index);
  return ask(sorted, unit);
}

template <class Backend, class Ask>
auto with_sorted(Backend& backend, const ItemColumns& items, std::uint64_t first_index, Ask&& ask) {
  if (items.weight.type == ItemType::float64) {
    return items.quartic()
               ? with_sorted_as<std::uint64_t, QuarticMoments>(backend, items, first_index, ask)
               : with_sorted_as<std::uint64_t, QuadraticMoments>(backend, items, first_index, ask);
  }
  return items.quartic()
             ? with_sorted_as<std::uint32_t, QuarticMoments>(backend, items, first_index, ask)
             : with_sorted_as<std::uint32_t, QuadraticMoments>(backend, items, first_index, ask);
}

struct Labelling {
  Solved solved;
  ItemColumns items;
};

template <class Backend>
Labelling solve_problem(Backend& backend, const ItemColumns& items, std::uint64_t first_index,
                        const ClusterOptions& options, std::int64_t problem) {
  const Parallel parallel(options.n_threads);
  if (counts_suffice(items)) {
    Points points = count_halves(backend, items, first_index);
    if (options.zero == Zero::pinned) pin_zero(points);
    return {solve_points(points, options.solver, problem, parallel), items};
  }
  return with_sorted(
      backend, items, first_index,
      [&](SortedWeights& weights, const ItemColumns& counted) -> Labelling {
        return {solve_sorted(weights, options.solver, options.zero, problem, parallel), counted};
      });
}

// The cost about `centroids`, summed directly, in an order that the number of items alone decides.
template <class Backend>
double label_items(Backend& backend, const ItemColumns& items, const std::vector<double>& centroids,
                   LabelType label_type, void* labels) {
  const CodebookTable table = codebook_table(centroids);
  const std::vector<double> sums =
      backend.tile_sums(items.size, LabelItem{items, table.half, labels, label_type}, table.values);
  CompensatedSum cost;
  for (const double sum : sums) cost.add(sum);
  return cost.total();
}

inline std::size_t size_of(LabelType type) { return type == LabelType::uint8 ? 1 : 4; }

template <class Backend>
void cluster_problem(Backend& backend, const Batch& batch, std::int64_t problem,
                     const ClusterOptions& options, const BatchOutputs& outputs) {
  const ProblemOutputs& out = outputs.problems;
  const std::int64_t first = problem * batch.n_items;
  const auto k = static_cast<std::int64_t>(options.solver.k);
  auto [solved, items] = solve_problem(backend, columns_of(batch, problem),
                                       static_cast<std::uint64_t>(first), options, problem);
  Solution& solution = solved.solution;
  solution.centroids.resize(options.solver.k, solution.centroids.back());
  void* labels = static_cast<std::byte*>(out.labels) +
                 first * static_cast<std::int64_t>(size_of(out.label_type));
  const double cost = label_items(backend, items, solution.centroids, out.label_type, labels);
  const Rounding of_cost{relative_rounding(kTileRoundings + kTermRoundings), solved.hidden};
  const Rounding of_bound{relative_rounding(kMomentRoundings), solved.hidden};
  backend.upload(solution.centroids, out.centroids + problem * k);
  backend.upload(std::vector<double>{of_cost.above(cost)}, out.costs + problem);
  backend.upload(std::vector<double>{of_bound.below(solution.lower_bound)},
                 out.lower_bounds + problem);
  backend.upload(std::vector<double>{solution.scale}, out.scales + problem);
  backend.upload(std::vector<std::int64_t>{solution.n_iter}, outputs.n_iters + problem);
}

template <class Backend>
void cluster(Backend& backend, const Batch& batch, const ClusterOptions& options,
             const BatchOutputs& outputs) {
  check_item_count(batch.n_items);
  for (std::int64_t problem = 0; problem < batch.n_problems; ++problem)
    cluster_problem(backend, batch, problem, options, outputs);
}

// costs: n_problems x k_max.
template <class Backend>
void cost_curve(Backend& backend, const Batch& batch, std::size_t k_max, Zero zero,
                CentroidFormat format, int n_threads, double* costs) {
  check_item_count(batch.n_items);
  const Parallel parallel(n_threads);
  for (std::int64_t problem = 0; problem < batch.n_problems; ++problem) {
    const ItemColumns items = columns_of(batch, problem);
    const auto first_index = static_cast<std::uint64_t>(problem * batch.n_items);
    std::vector<double> curve;
    if (counts_suffice(items)) {
      Points points = count_halves(backend, items, first_index);
      if (zero == Zero::pinned) pin_zero(points);
      curve = curve_of_points(points, k_max, format, parallel);
    } else {
      curve =
          with_sorted(backend, items, first_index, [&](SortedWeights& weights, const ItemColumns&) {
            return curve_of_sorted(weights, k_max, zero, format, parallel);
          });
    }
    backend.upload(curve, costs + problem * static_cast<std::int64_t>(k_max));
  }
}

}  // namespace wkmeans::cuda
