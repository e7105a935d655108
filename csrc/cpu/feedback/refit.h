#pragma once

#include "cpu/feedback/labelling.h"

namespace wkmeans {

// Codebooks by least squares under S for labels that stay: adds to the centroids what minimises
// sum_r importance_r (w_r - v_r) S (w_r - v_r)' over the rows of each codebook. A centroid without
// labels, and where `zero_stays` one that is exactly zero, keeps its place. importances: of rows,
// or null. refitted: of the codebooks' shape; its centroids need not ascend.
void refit(const MatrixRows& rows, const MatrixLabel* labels, const double* importances,
           bool zero_stays, const Parallel& parallel, double* refitted);

}  // namespace wkmeans
