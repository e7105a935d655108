#pragma once

#include <cstddef>

#include "cpu/base/operand.h"

namespace wkmeans {

// Labels every weight with its nearest centroid (ties: the lower; of equal centroids the first).
// `centroids`: n_problems x k, those of each problem ascending; `labels`: n_problems x n_items.
// Importances are not looked at. Throws InvalidValue where a weight is not finite.
template <class Label>
void label_nearest(const Problems& problems, const double* centroids, std::size_t k, int n_threads,
                   Label* labels);

}  // namespace wkmeans
