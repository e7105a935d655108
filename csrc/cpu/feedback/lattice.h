#pragma once

#include <cstdint>

#include "cpu/base/parallel.h"
#include "cpu/feedback/factor.h"

namespace wkmeans {

// Lengths in bits of the integers -largest..largest, for each class of columns; integers beyond are
// as long as those at the ends. With u = target / step, rounding minimises
// (u - shrinkage z)^2 + multiplier bits(z) over the integer nearest to u / shrinkage, its neighbour
// nearer to zero, and zero.
struct CodeLengths {
  double multiplier = 0.0;
  std::int64_t largest = 0;
  const double* bits = nullptr;           // (classes, 2 largest + 1)
  const std::int32_t* classes = nullptr;  // of each column
};

// A uniform lattice: z stands for row_steps[r] * column_steps[i] * shrinkage[i] * z.
struct Lattice {
  const double* row_steps = nullptr;
  const double* column_steps = nullptr;
  const double* shrinkage = nullptr;
  CodeLengths lengths;  // rounds to the nearest where the multiplier is zero
};

struct LatticeOutput {
  std::int32_t* integers;  // (rows, n)
  double* costs;           // of each row: (w - v) S (w - v)'
  double* products;        // of each column: the sum of u z over rows
  double* squares;         // and of z^2: their quotient is the shrinkage of least error
};

// Rounds the rows of weights (rows, n) to the lattice with feedback of errors. Returns false where
// an integer would not fit 32 bits.
bool feed_back_on_lattice(const FeedbackFactor& factor, const double* weights, std::int64_t n_rows,
                          const Lattice& lattice, const Parallel& parallel,
                          const LatticeOutput& output);

}  // namespace wkmeans
