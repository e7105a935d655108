#include "cpu/coding/look_up.h"

#include <algorithm>
#include <atomic>
#include <vector>

namespace wkmeans {
namespace {

constexpr std::int64_t kTile = 64;  // rows that are turned round together: a cache line of labels

// Calls take(row, labels of that row) for all rows; take: whether they are below k.
template <class Label, class Take>
bool for_each_row(const LabelMatrix<Label>& matrix, const Parallel& parallel, Take&& take) {
  const std::int64_t rows = matrix.rows;
  const std::int64_t columns = matrix.columns;
  // Long rows one by one; short ones by tiles, transposed ones in any case.
  const std::int64_t tile =
      matrix.is_transposed ? kTile
                           : std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(columns, 1));
  std::atomic<bool> are_labels{true};
  parallel.run((rows + tile - 1) / tile, [&](std::int64_t number) {
    const std::int64_t begin = number * tile;
    const std::int64_t end = std::min(begin + tile, rows);
    std::vector<Label> turned;
    const Label* from = matrix.labels + begin * columns;
    if (matrix.is_transposed) {
      turned.resize(static_cast<std::size_t>((end - begin) * columns));
      for (std::int64_t column = 0; column < columns; ++column) {
        const Label* line = matrix.labels + column * rows;
        for (std::int64_t row = begin; row < end; ++row) {
          turned[static_cast<std::size_t>((row - begin) * columns + column)] = line[row];
        }
      }
      from = turned.data();
    }
    for (std::int64_t row = begin; row < end; ++row, from += columns) {
      if (!take(row, from)) are_labels = false;
    }
  });
  return are_labels;
}

template <class Label>
bool are_below(const Label* labels, std::int64_t size, std::int64_t k) {
  Label most = 0;
  for (std::int64_t i = 0; i < size; ++i) most = std::max(most, labels[i]);
  return size == 0 || most < k;
}

// One table, and labels as they lie, however few rows they make.
template <class Label, class Value>
bool look_up_in_order(const LabelMatrix<Label>& matrix, const ValueTables<Value>& tables,
                      const Parallel& parallel, Value* values) {
  std::atomic<bool> are_labels{true};
  for_each_chunk(parallel, matrix.rows * matrix.columns,
                 [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                   if (!are_below(matrix.labels + begin, end - begin, tables.k)) {
                     are_labels = false;
                     return;
                   }
                   const Value* const table = tables.values;
                   for (std::int64_t i = begin; i < end; ++i) values[i] = table[matrix.labels[i]];
                 });
  return are_labels;
}

}  // namespace

template <class Label, class Value>
bool look_up(const LabelMatrix<Label>& matrix, const ValueTables<Value>& tables,
             const Parallel& parallel, Value* values) {
  if (tables.group == 0 && !matrix.is_transposed) {
    return look_up_in_order(matrix, tables, parallel, values);
  }
  const std::int64_t columns = matrix.columns;
  const std::int64_t group = tables.group == 0 ? std::max<std::int64_t>(columns, 1) : tables.group;
  return for_each_row(matrix, parallel, [&](std::int64_t row, const Label* labels) {
    if (!are_below(labels, columns, tables.k)) return false;
    const Value* table = tables.values + row * tables.per_row(columns) * tables.k;
    Value* out = values + row * columns;
    for (std::int64_t begin = 0; begin < columns; begin += group, table += tables.k) {
      const std::int64_t end = std::min(begin + group, columns);
      for (std::int64_t i = begin; i < end; ++i) out[i] = table[labels[i]];
    }
    return true;
  });
}

template <class Label, class Value>
bool look_up_scaled(const LabelMatrix<Label>& matrix, const ValueTables<double>& table,
                    const double* row_scales, const double* column_scales, const Parallel& parallel,
                    Value* values) {
  const std::int64_t columns = matrix.columns;
  return for_each_row(matrix, parallel, [&](std::int64_t row, const Label* labels) {
    if (!are_below(labels, columns, table.k)) return false;
    Value* out = values + row * columns;
    for (std::int64_t i = 0; i < columns; ++i) {
      out[i] = static_cast<Value>(table.values[labels[i]] * row_scales[row] * column_scales[i]);
    }
    return true;
  });
}

#define WKM_INSTANTIATE(Label)                                                         \
  template bool look_up(const LabelMatrix<Label>&, const ValueTables<std::uint16_t>&,  \
                        const Parallel&, std::uint16_t*);                              \
  template bool look_up(const LabelMatrix<Label>&, const ValueTables<std::uint32_t>&,  \
                        const Parallel&, std::uint32_t*);                              \
  template bool look_up(const LabelMatrix<Label>&, const ValueTables<std::uint64_t>&,  \
                        const Parallel&, std::uint64_t*);                              \
  template bool look_up_scaled(const LabelMatrix<Label>&, const ValueTables<double>&,  \
                               const double*, const double*, const Parallel&, float*); \
  template bool look_up_scaled(const LabelMatrix<Label>&, const ValueTables<double>&,  \
                               const double*, const double*, const Parallel&, double*);
WKM_INSTANTIATE(std::uint8_t)
WKM_INSTANTIATE(std::uint16_t)
#undef WKM_INSTANTIATE

}  // namespace wkmeans
