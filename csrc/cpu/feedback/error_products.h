#pragma once

#include "cpu/feedback/labelling.h"

namespace wkmeans {

// Errors E = W - V of some rows and their products G = E S, and memory for them that serves one
// chunk of rows after another.
class ErrorProducts {
public:
  void compute(const MatrixRows& rows, const ImportanceMatrix& matrix, Range<std::int64_t> range,
               const MatrixLabel* labels);

  // Of the range's row i.
  double* errors(std::int64_t i) { return errors_.data() + i * n_; }
  double* products(std::int64_t i) { return products_.data() + i * n_; }
  double cost(std::int64_t i) const;  // their inner product

private:
  std::int64_t n_ = 0;
  Buffer<double> errors_;
  Buffer<double> products_;
  Buffer<double> packed_;  // panels of rows, column after column, zeros for rows not there
  Buffer<double> sums_;
};

}  // namespace wkmeans
