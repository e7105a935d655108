#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/read/points.h"

namespace wkmeans {

// Labels where the weights are halves and their points counts of each.

// Labels each weight with its nearest centroid (ties: the lower; of equal centroids the first).
template <class Label>
void label_halves(const Problems& problems, std::int64_t problem,
                  const std::vector<double>& centroids, const Parallel& parallel, Label* labels);

// The cost about these centroids, summed directly over the distinct weights.
double histogram_cost(const Points& points, const std::vector<double>& centroids);

// How many roundings lie one after another between an item and that cost, at most.
constexpr double kHistogramRoundings = 24.0;

}  // namespace wkmeans
