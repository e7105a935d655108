#pragma once

#include <cstdint>
#include <cstring>

#include "math/platform.h"

namespace wkmeans {

WKM_HD float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

WKM_HD std::uint32_t bits_of_float(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

WKM_HD float bfloat16_to_float(std::uint16_t half) {
  return float_from_bits(static_cast<std::uint32_t>(half) << 16);
}

// Branch-free so that loops over it vectorise: multiplying by 2^112 rebiases the exponent and
// normalises denormals in one step; infinities and NaNs get the exponent they need afterwards.
WKM_HD float float16_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(half & 0x7fffu) << 13;
  const float scaled = float_from_bits(magnitude) * 0x1p112f;
  const std::uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  return float_from_bits(sign | bits_of_float(scaled) | special);
}

// Of one that is no infinity and no NaN, in four operations.
WKM_HD float finite_float16_to_float(std::uint16_t half) {
  const std::int32_t extended = static_cast<std::int16_t>(half);
  const std::uint32_t shifted = (static_cast<std::uint32_t>(extended) << 13) & 0x8fffe000u;
  return float_from_bits(shifted) * 0x1p112f;
}

}  // namespace wkmeans
