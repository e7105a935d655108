#pragma once

#include <cstdint>

#include "cpu/base/parallel.h"

namespace wkmeans {

// A matrix (rows, columns) of labels, stored columns first where `is_transposed`.
template <class Label>
struct LabelMatrix {
  const Label* labels;
  std::int64_t rows;
  std::int64_t columns;
  bool is_transposed;
};

// Tables of k values each: one for all weights, or one for each `group` columns of every row.
template <class Value>
struct ValueTables {
  const Value* values;
  std::int64_t k;
  std::int64_t group;  // 0: there is one table

  std::int64_t per_row(std::int64_t columns) const {
    return group == 0 ? 0 : (columns + group - 1) / group;
  }
};

// The value of every label, in rows. Whether all labels are below k; where one is not, `values` is
// not whole. Value: an unsigned integer that is as wide as what is meant.
template <class Label, class Value>
bool look_up(const LabelMatrix<Label>& matrix, const ValueTables<Value>& tables,
             const Parallel& parallel, Value* values);

// The same for one table, times a scale of the row and one of the column: in double, rounded once.
template <class Label, class Value>
bool look_up_scaled(const LabelMatrix<Label>& matrix, const ValueTables<double>& table,
                    const double* row_scales, const double* column_scales, const Parallel& parallel,
                    Value* values);

}  // namespace wkmeans
