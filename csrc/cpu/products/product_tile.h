#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/base/isa.h"
#include "math/range.h"

namespace wkmeans {

// Matrix products, a tile at a time. A panel holds the rows of one side that a tile takes, position
// after position, and zeros for rows that are not there; a tile is row-major and stays in
// registers while it is summed, in the order of positions.
template <class T>
struct Tile {
  static constexpr int kRows = 6;
  static constexpr int kColumns = static_cast<int>(64 / sizeof(T));
  static constexpr int kSize = kRows * kColumns;

  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void multiply(const T* left, const T* right, std::int64_t n_positions,
                                         T* tile) {
    T sum[kRows][kColumns] = {};
    for (std::int64_t position = 0; position < n_positions; ++position) {
      // Rows unrolled and columns as vectors: otherwise GCC leaves the sums in memory.
      WKM_UNROLL(8)
      for (int row = 0; row < kRows; ++row) {
        const T factor = left[row];
        WKM_UNROLL(1)
        for (int column = 0; column < kColumns; ++column) {
          sum[row][column] = multiply_add<Mode>(factor, right[column], sum[row][column]);
        }
      }
      left += kRows;
      right += kColumns;
    }
    for (int row = 0; row < kRows; ++row) {
      for (int column = 0; column < kColumns; ++column) {
        tile[row * kColumns + column] = sum[row][column];
      }
    }
  }

private:
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE T multiply_add(T a, T b, T c) {
    if constexpr (Mode == MultiplyAdd::fused) {
      return std::fma(a, b, c);
    } else {
      return a * b + c;
    }
  }
};

constexpr std::int64_t panel_count(std::int64_t n, int width) { return (n + width - 1) / width; }

}  // namespace wkmeans
