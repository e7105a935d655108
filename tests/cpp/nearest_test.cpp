#include "math/nearest.h"

#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <limits>

#include "support.h"

using namespace wkmeans;
using wkmeans::testing::Random;

namespace {

using Limits = std::numeric_limits<double>;

// A sum of doubles without rounding: a two's complement integer in units of the smallest denormal.
class ExactSum {
public:
  ExactSum& add(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint64_t exponent = (bits >> 52) & 0x7ff;
    const std::uint64_t fraction = bits & ((std::uint64_t{1} << 52) - 1);
    const std::uint64_t significand = exponent ? fraction | (std::uint64_t{1} << 52) : fraction;
    for (std::size_t bit = 0; bit < 53; ++bit) {
      if ((significand >> bit) & 1) add_power(bit + (exponent ? exponent - 1 : 0), bits >> 63);
    }
    return *this;
  }
  bool negative() const { return words_.back() >> 31; }

private:
  void add_power(std::size_t power, bool subtract) {
    std::int64_t carry = subtract ? -1 : 1;
    carry *= std::int64_t{1} << (power % 32);
    for (std::size_t word = power / 32; word < words_.size() && carry; ++word) {
      const std::int64_t sum = words_[word] + carry;
      words_[word] = static_cast<std::uint32_t>(sum);
      carry = (sum - static_cast<std::int64_t>(words_[word])) / (std::int64_t{1} << 32);
    }
  }
  std::array<std::uint32_t, 67> words_{};  // 2144 bits; four doubles need 2101
};

bool at_or_below_middle(double t, double low, double high) {
  return !ExactSum().add(low).add(high).add(-t).add(-t).negative();
}

void check_split(double low, double high) {
  CAPTURE(low);
  CAPTURE(high);
  const double t = split_point(low, high);
  CHECK(t >= low);
  CHECK(t < high);
  CHECK(at_or_below_middle(t, low, high));
  CHECK_FALSE(at_or_below_middle(std::nextafter(t, Limits::infinity()), low, high));
}

double double_of_any_bits(Random& random) {
  for (;;) {
    const std::uint64_t bits = random.bits();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) return value;
  }
}

}  // namespace

TEST_CASE("the exact sum knows its signs") {
  CHECK_FALSE(ExactSum().negative());
  CHECK(ExactSum().add(-Limits::denorm_min()).negative());
  CHECK_FALSE(ExactSum().add(Limits::denorm_min()).negative());
  CHECK(ExactSum().add(1.0).add(-1.0).add(-Limits::denorm_min()).negative());
  CHECK(ExactSum().add(-Limits::max()).add(Limits::denorm_min()).negative());
  CHECK_FALSE(ExactSum().add(Limits::max()).add(-1.0).add(Limits::max()).negative());
}

TEST_CASE("the split point of equal centroids is theirs") {
  for (const double c : {0.0, -1.5, Limits::max(), Limits::denorm_min()}) {
    CHECK(split_point(c, c) == c);
  }
}

TEST_CASE("the split point is exact between neighbours in the range of double") {
  Random random(1);
  for (int round = 0; round < 2000; ++round) {
    const double low = double_of_any_bits(random);
    check_split(low, std::nextafter(low, Limits::infinity()));
  }
}

TEST_CASE("the split point is exact between centroids of any size and distance") {
  Random random(2);
  for (int round = 0; round < 10000; ++round) {
    const double centre = random.normal() * random.of_decades(-300, 300);
    const double distance = std::fabs(centre) * random.of_decades(-17, 3) + 5e-324;
    if (centre - distance < centre + distance) check_split(centre - distance, centre + distance);
  }
}

TEST_CASE("the split point is exact for denormals and around zero") {
  const double tiny = Limits::denorm_min();
  check_split(0.0, tiny);
  check_split(-tiny, 0.0);
  check_split(-tiny, tiny);
  check_split(-3 * tiny, -2 * tiny);
  check_split(2 * tiny, 5 * tiny);
  check_split(-tiny, 1.0);
  check_split(tiny, 1.0);
  check_split(-1.0, tiny);
  check_split(-1.0, -tiny);
  check_split(Limits::min() - tiny, Limits::min());
  check_split(Limits::min(), Limits::min() + tiny);
}

TEST_CASE("the split point is exact at the ends of the range") {
  const double huge = Limits::max();
  const double next = std::nextafter(huge, 0.0);
  check_split(next, huge);
  check_split(-huge, -next);
  check_split(-huge, huge);
  check_split(-huge, next);
  check_split(-next, huge);
  check_split(huge / 2, huge);
  check_split(1.0, huge);
  check_split(-Limits::denorm_min(), huge);
  check_split(-huge, -Limits::denorm_min());
  check_split(-huge, -1.0);
}
