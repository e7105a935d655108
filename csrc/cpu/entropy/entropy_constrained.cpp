#include "cpu/entropy/entropy_constrained.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/cluster/route.h"
#include "cpu/entropy/entropy_assign.h"
#include "cpu/entropy/entropy_lloyd.h"
#include "cpu/read/collect.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

// The order that sorts `values`; of equal ones the first stays first.
std::vector<std::size_t> sorting_order(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  return order;
}

EntropyCodebook sorted(const EntropyCodebook& codebook) {
  EntropyCodebook result;
  for (const std::size_t j : sorting_order(codebook.centroids)) {
    result.centroids.push_back(codebook.centroids[j]);
    result.lengths.push_back(codebook.lengths[j]);
  }
  return result;
}

PricedCodebook priced(const EntropyCodebook& codebook, double multiplier) {
  PricedCodebook result{codebook.centroids, codebook.lengths};
  for (double& price : result.prices) price *= multiplier;
  return result;
}

// Best centroids and lengths for an assignment; the codewords it does not use are gone.
EntropyCodebook refit(const PricedCodebook& codebook, const EntropyAssignment& assignment,
                      Zero zero) {
  const std::int64_t n =
      std::accumulate(assignment.counts.begin(), assignment.counts.end(), std::int64_t{0});
  EntropyCodebook result;
  for (std::size_t j = 0; j < codebook.size(); ++j) {
    if (assignment.counts[j] == 0) continue;
    const double origin = codebook.centroids[j];
    const bool pinned = zero == Zero::pinned && origin == 0.0;
    result.centroids.push_back(pinned ? 0.0
                                      : centre(assignment.sums[j].about_the_means(origin)).value());
    result.lengths.push_back(
        std::log2(static_cast<double>(n) / static_cast<double>(assignment.counts[j])));
  }
  return result;
}

// Without importances the rounds cost next to nothing once the weights are sorted. What is left to
// the assignment of each weight is to label them, and to see that nothing changes any more.
int settle_on_sorted_weights(const Problems& problems, double multiplier, Zero zero, int max_iter,
                             const Parallel& parallel, EntropyCodebook& codebook) {
  if (problems.importance || problems.quartic() || max_iter == 0) return 0;
  PointCollector collector;
  const Reading reading = reading_of_points(facts_of(problems, parallel.n_threads()));
  const Points& points = collector.collect(problems, 0, reading, Zero::free, parallel);
  Pyramid<QuadraticMoments> pyramid;
  pyramid.build(points, parallel);
  codebook = sorted(codebook);
  return entropy_lloyd(points, pyramid, multiplier, zero, max_iter, codebook);
}

template <class Label>
EntropySolution without_unused(const PricedCodebook& codebook, const EntropyAssignment& assignment,
                               std::int64_t n, const Parallel& parallel, Label* labels) {
  EntropySolution solution;
  std::vector<Label> label_of(codebook.size());
  for (std::size_t j = 0; j < codebook.size(); ++j) {
    label_of[j] = static_cast<Label>(solution.centroids.size());
    if (assignment.counts[j] == 0) continue;
    solution.centroids.push_back(codebook.centroids[j]);
    solution.counts.push_back(assignment.counts[j]);
  }
  if (solution.centroids.size() < codebook.size()) {
    for_each_chunk(parallel, n, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) labels[i] = label_of[labels[i]];
    });
  }
  solution.cost = assignment.cost();
  return solution;
}

}  // namespace

template <class Label>
EntropySolution entropy_constrained(const Problems& problems, const EntropyCodebook& start,
                                    double multiplier, Zero zero, int max_iter,
                                    const Parallel& parallel, Label* labels) {
  const std::int64_t n = problems.weights->n_items();
  std::fill(labels, labels + n, Label{0});
  EntropyCodebook settled = start;
  int n_iter = settle_on_sorted_weights(problems, multiplier, zero, max_iter, parallel, settled);
  PricedCodebook codebook = priced(sorted(settled), multiplier);
  EntropyAssignment assignment = entropy_assign(problems, 0, codebook, parallel, labels);
  for (std::int64_t n_changed = n; n_iter < max_iter && n_changed > 0; ++n_iter) {
    codebook = priced(sorted(refit(codebook, assignment, zero)), multiplier);
    assignment = entropy_assign(problems, 0, codebook, parallel, labels);
    n_changed = assignment.n_changed;
  }
  EntropySolution solution = without_unused(codebook, assignment, n, parallel, labels);
  solution.n_iter = n_iter;
  return solution;
}

template EntropySolution entropy_constrained(const Problems&, const EntropyCodebook&, double, Zero,
                                             int, const Parallel&, std::uint8_t*);
template EntropySolution entropy_constrained(const Problems&, const EntropyCodebook&, double, Zero,
                                             int, const Parallel&, std::uint16_t*);
template EntropySolution entropy_constrained(const Problems&, const EntropyCodebook&, double, Zero,
                                             int, const Parallel&, std::uint32_t*);

}  // namespace wkmeans
