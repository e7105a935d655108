#pragma once

#include <cstdint>
#include <vector>

namespace wkmeans {

// A matrix of integers, coded in C order by probabilities that are learnt on the way: from how
// large integers of this row and this column have been, and from what is known beforehand of how
// large they will be, the sum of a number of the row and one of the column.
struct SpreadMatrix {
  std::int64_t rows;
  std::int64_t columns;
  const std::int32_t* of_row;     // (rows), not negative
  const std::int32_t* of_column;  // (columns), not negative
  // Down each column integers follow a trellis (math/trellis.h), anew from state 0 every so many
  // rows; 0: they are free.
  std::int64_t block = 0;
};

// Integers are less than 2^20 in magnitude.
std::vector<std::uint32_t> encode_adaptively(const SpreadMatrix& matrix,
                                             const std::int32_t* integers);

// Whether the words end where the integers do; `integers` is written whole all the same.
bool decode_adaptively(const SpreadMatrix& matrix, const std::uint32_t* begin,
                       const std::uint32_t* end, std::int32_t* integers);

}  // namespace wkmeans
