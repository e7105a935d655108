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

}  // namespace wkmeans
