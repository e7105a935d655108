#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"

namespace wkmeans {

// Labels each weight of a problem with its nearest centroid (ties: the lower; of equal centroids
// the first) and returns the cost, summed directly about the centroids in chunk order. With
// `unit_importance` the problem's own importances, all zero, count as 1.
template <class Label>
double assign(const Problems& problems, std::int64_t problem, const std::vector<double>& centroids,
              bool unit_importance, const Parallel& parallel, Label* labels);

// How many roundings lie one after another between an item and that cost, at most.
double assign_roundings(std::int64_t n_items);

}  // namespace wkmeans
