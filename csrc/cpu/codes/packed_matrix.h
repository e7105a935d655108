#pragma once

#include <cstdint>

#include "cpu/base/isa.h"
#include "cpu/base/parallel.h"
#include "math/half.h"

namespace wkmeans {

enum class CodewordType { float32, float16, bfloat16 };

constexpr std::int64_t size_of(CodewordType type) { return type == CodewordType::float32 ? 4 : 2; }

// Bytes behind the last row that may be read, whatever they hold.
constexpr std::int64_t kCodePadding = 32;

// A weight matrix (rows, columns) as codes into codebooks, the way files have it: code i of a row
// takes its bits [i b, (i + 1) b), the least significant first. Each row begins with a byte of its
// own, which in files is so where columns * b is a multiple of 8.
struct PackedMatrix {
  const std::uint8_t* codes;  // rows, of row_bytes() each, then kCodePadding
  std::int64_t rows;
  std::int64_t columns;
  int bits;            // 1 to 8
  const void* tables;  // (codebooks, 2^bits), finite
  CodewordType type;
  // Columns that share a codebook: codebook row * groups() + column / group, or the only one.
  std::int64_t group;
  bool is_shared;

  std::int64_t row_bytes() const { return (columns * bits + 7) / 8; }
  std::int64_t groups() const { return (columns + group - 1) / group; }
  // The codebook of a row's group: where it lies, or of 2^bits values in `spare`.
  WKM_ALWAYS_INLINE const float* table(std::int64_t row, std::int64_t number, float* spare) const {
    return values(row, number, 1 << bits, spare);
  }
  // The same of sixteen values, of which a smaller codebook has neighbours: one vector.
  WKM_ALWAYS_INLINE const float* table_of_sixteen(std::int64_t row, std::int64_t number,
                                                  float* spare) const {
    return values(row, number, 16, spare);
  }

  // Where a codebook begins.
  WKM_ALWAYS_INLINE const void* table_bytes(std::int64_t row, std::int64_t number) const {
    const std::int64_t at = is_shared ? 0 : (row * groups() + number) << bits;
    return static_cast<const std::uint8_t*>(tables) + at * size_of(type);
  }

private:
  WKM_ALWAYS_INLINE const float* values(std::int64_t row, std::int64_t number, int count,
                                        float* spare) const {
    const void* begin = table_bytes(row, number);
    if (type == CodewordType::float32) return static_cast<const float*>(begin);
    const auto* halves = static_cast<const std::uint16_t*>(begin);
    if (type == CodewordType::float16) {
      for (int j = 0; j < count; ++j) spare[j] = finite_float16_to_float(halves[j]);
    } else {
      for (int j = 0; j < count; ++j) spare[j] = bfloat16_to_float(halves[j]);
    }
    return spare;
  }
};

// outputs (batch, rows) = inputs (batch, columns) times the transpose of the matrix, in single
// precision; each row is summed in an order of its own, whatever the number of threads. Up to
// kFromCodes inputs are multiplied by codes as they are looked up, more by tiles that are unpacked.
constexpr std::int64_t kFromCodes = 16;
void multiply_by_codes(const PackedMatrix& matrix, const float* inputs, std::int64_t batch,
                       const Parallel& parallel, float* outputs);

}  // namespace wkmeans
