#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/base/operand.h"
#include "math/half.h"

namespace wkmeans {

// The bits of float16 and bfloat16, and the values they stand for.

constexpr std::size_t kHalves = 65536;
constexpr std::int64_t kHalvesAtOnce = 4096;  // they stay in the first cache between two loops

inline double value_of_half(DType dtype, std::uint16_t bits) {
  const float value = dtype == DType::float16 ? float16_to_float(bits) : bfloat16_to_float(bits);
  return static_cast<double>(value);
}

// Bits in the order of the values they stand for.
inline std::uint16_t bits_at_rank(std::size_t rank) {
  const auto key = static_cast<std::uint32_t>(rank);
  return static_cast<std::uint16_t>(key ^ (key & 0x8000u ? 0x8000u : 0xffffu));
}

constexpr std::uint16_t kMagnitude = 0x7fff;

inline std::uint16_t infinity_of(DType dtype) { return dtype == DType::float16 ? 0x7c00 : 0x7f80; }

}  // namespace wkmeans
