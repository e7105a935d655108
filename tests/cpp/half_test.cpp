#include "math/half.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace wkmeans;

namespace {

// Sign, exponent and fraction read one by one; IEEE 754, section 3.4.
float slow_float(std::uint16_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int largest = (1 << exponent_bits) - 1;
  const int exponent = (bits >> fraction_bits) & largest;
  const auto fraction = static_cast<float>(bits & ((1 << fraction_bits) - 1));
  const float share = std::ldexp(fraction, -fraction_bits);
  const float magnitude = exponent == largest ? (fraction != 0.0f ? NAN : INFINITY)
                          : exponent == 0     ? std::ldexp(share, 1 - bias)
                                              : std::ldexp(1.0f + share, exponent - bias);
  return bits >> 15 ? -magnitude : magnitude;
}

void check_all_values(float (*convert)(std::uint16_t), int exponent_bits, int fraction_bits) {
  int n_wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = convert(half);
    const float reference = slow_float(half, exponent_bits, fraction_bits);
    const bool same = std::isnan(reference) ? std::isnan(value)
                                            : bits_of_float(value) == bits_of_float(reference);
    n_wrong += !same;
  }
  CHECK(n_wrong == 0);
}

}  // namespace

TEST_CASE("every float16 converts exactly") { check_all_values(float16_to_float, 5, 10); }

TEST_CASE("every bfloat16 converts exactly") { check_all_values(bfloat16_to_float, 8, 7); }
