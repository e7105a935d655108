#pragma once

#include <cstdint>

#include "cuda/batch/problem.h"

namespace wkmeans::cuda {

// Where the results of a batch go.
struct BatchOutputs {
  ProblemOutputs problems;  // `errors` is not read
  std::int64_t* n_iters;
};

}  // namespace wkmeans::cuda
