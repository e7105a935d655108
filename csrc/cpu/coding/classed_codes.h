#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/coding/code_table.h"

namespace wkmeans {

// A matrix of codes, coded in C order by chunks that do not depend on one another, each weight by
// the table of its class: what its row and its column say together.
struct CodeClasses {
  std::int64_t rows;
  std::int64_t columns;
  const std::int32_t* of_row;     // (rows), not negative
  const std::int32_t* of_column;  // (columns), not negative; null where rows alone decide
  int shift;
  std::int64_t chunk;  // weights of one, but for the last

  std::int64_t size() const { return rows * columns; }
  std::int64_t n_chunks() const { return (size() + chunk - 1) / chunk; }
  // The table of row r and column c is `(of_row[r] + of_column[c]) >> shift`.
  std::size_t table(std::int64_t row, std::int64_t column) const {
    const std::int32_t by_column = of_column == nullptr ? 0 : of_column[column];
    return static_cast<std::size_t>((of_row[row] + by_column) >> shift);
  }
};

// The words of each chunk. Label: an unsigned integer; every code has a count in its table.
template <class Label>
std::vector<std::vector<std::uint32_t>> encode_by_classes(const CodeClasses& classes,
                                                          const std::vector<CodeTable>& tables,
                                                          const Label* codes,
                                                          const Parallel& parallel);

// The words of chunk i are [ends[i - 1], ends[i]). Whether every chunk's words end where its codes
// do; `codes` is written whole all the same.
template <class Label>
bool decode_by_classes(const CodeClasses& classes, const std::vector<CodeTable>& tables,
                       const std::uint32_t* words, const std::int64_t* ends,
                       const Parallel& parallel, Label* codes);

}  // namespace wkmeans
