#pragma once

#include <cstdint>

#include "cpu/base/parallel.h"
#include "cpu/feedback/factor.h"

namespace wkmeans {

// z stands for row_steps[r] * column_steps[i] * z. Down the rows of a column integers follow a
// trellis (math/trellis.h), anew from state 0 every `block` rows; where a block is one row, they
// are the even ones.
struct Lattice {
  const double* row_steps = nullptr;
  const double* column_steps = nullptr;
  std::int64_t block = 1;
  // (rows, rows) or null: what the error of each row before adds to the target of a row. There is
  // one block then.
  const double* row_coefficients = nullptr;
};

struct LatticeOutput {
  std::int32_t* integers;  // (rows, n)
  double* costs;           // of each row: (w - v) S (w - v)', w what it was to reach
  double* products;        // of each column: the sum over rows of z and its target in steps
  double* squares;         // and of z^2: their quotient, times the step, would leave least error
};

// Rounds the rows of weights (rows, n) to the lattice with feedback of errors. Returns false where
// an integer would not fit 32 bits.
bool feed_back_on_lattice(const FeedbackFactor& factor, const double* weights, std::int64_t n_rows,
                          const Lattice& lattice, const Parallel& parallel,
                          const LatticeOutput& output);

}  // namespace wkmeans
