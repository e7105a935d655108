#pragma once

#include <cstdint>
#include <cstring>

#include "math/platform.h"

namespace wkmeans {

// Order-preserving keys of floating-point values; -0 and +0 are one weight.

WKM_HD std::uint32_t sort_key(float value) {
  std::uint32_t bits;
  value += 0.0f;
  std::memcpy(&bits, &value, sizeof bits);
  return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

WKM_HD std::uint64_t sort_key(double value) {
  std::uint64_t bits;
  value += 0.0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits ^ ((bits >> 63) ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

WKM_HD double value_of_key(std::uint32_t key) {
  const std::uint32_t bits = key ^ ((key >> 31) ? 0x80000000u : 0xffffffffu);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<double>(value);
}

WKM_HD double value_of_key(std::uint64_t key) {
  const std::uint64_t bits = key ^ ((key >> 63) ? std::uint64_t{1} << 63 : ~std::uint64_t{0});
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace wkmeans
