#pragma once

#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/read/buckets.h"

namespace wkmeans {

// `assign` where the bucket of each weight is known: a look-up there, to the same labels and the
// same cost.
template <class Label>
double assign_in_buckets(const BucketedPoints& buckets, const std::vector<double>& centroids,
                         const Parallel& parallel, Label* labels);

}  // namespace wkmeans
