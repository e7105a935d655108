#pragma once

#include <cstdint>

#include "cpu/base/parallel.h"
#include "cpu/feedback/codebooks.h"
#include "cpu/feedback/importance_matrix.h"

namespace wkmeans {

// Rows of weights (rows, n) and the codebooks that are to stand for them.
struct MatrixRows {
  const ImportanceMatrices& matrices;
  const double* weights;
  std::int64_t n_rows;
  Codebooks codebooks;
};

// Labels (rows, n) by feedback of errors, with the factor's idea of each row's cost.
void label_by_feedback(const MatrixRows& rows, const Parallel& parallel, MatrixLabel* labels,
                       double* costs);

// The cost (w - v) S (w - v)' of each row.
void label_costs(const MatrixRows& rows, const MatrixLabel* labels, const Parallel& parallel,
                 double* costs);

// Moves each label to the centroid that is best while all other labels stay, in at most `sweeps`
// rounds over the columns; a cost never rises. Then costs as of `label_costs`, to the rounding of
// the updates.
void descend(const MatrixRows& rows, int sweeps, const Parallel& parallel, MatrixLabel* labels,
             double* costs);

// Some of the rows whose errors E matter together: the objective is the sum of G[r][s] E_r S E_s'
// over all of them.
struct CoupledRows {
  const ImportanceMatrix& matrix;
  std::int64_t n;
  std::int64_t n_rows;
  const double* coupling;  // (n_rows, n_rows) of G, of these rows; the diagonal is positive
  const double* codebook;
  std::int64_t k;
};

// Moves each label of the rows in turn to the centroid that is best while all others stay, in at
// most `sweeps` rounds; the objective never rises. `products` (rows, n) are those of G E S, `own`
// those of E S: both follow the labels.
void descend_coupled(const CoupledRows& rows, int sweeps, MatrixLabel* labels, double* products,
                     double* own);

}  // namespace wkmeans
