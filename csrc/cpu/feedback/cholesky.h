#pragma once

#include <cstdint>
#include <optional>

#include "cpu/base/parallel.h"

namespace wkmeans {

// Overwrites a symmetric matrix (n, n), of which the lower triangle is read, by the lower triangle
// L of L L' and zeros above it. Returns the first column whose pivot is not positive, and leaves
// the matrix unfinished then: it is not positive definite.
std::optional<std::int64_t> cholesky(double* matrix, std::int64_t n, const Parallel& parallel);

}  // namespace wkmeans
