#include "cpu/base/operand.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "cpu/base/items.h"
#include "math/half.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// Element `index` (C order) of an array, found digit by digit.
std::int64_t offset_of(const std::vector<Dimension>& dims, std::int64_t index) {
  std::int64_t offset = 0;
  for (auto dim = dims.rbegin(); dim != dims.rend(); ++dim) {
    offset += (index % dim->extent) * dim->stride;
    index /= dim->extent;
  }
  return offset;
}

std::int64_t count_of(const std::vector<Dimension>& dims) {
  std::int64_t count = 1;
  for (const Dimension& dim : dims) count *= dim.extent;
  return count;
}

double slow_read(DType dtype, const std::byte* at) {
  std::uint16_t half = 0;
  float single = 0.0f;
  double value = 0.0;
  switch (dtype) {
    case DType::float16:
      std::memcpy(&half, at, 2);
      return float16_to_float(half);
    case DType::bfloat16:
      std::memcpy(&half, at, 2);
      return bfloat16_to_float(half);
    case DType::float32:
      std::memcpy(&single, at, 4);
      return single;
    case DType::float64:
      std::memcpy(&value, at, 8);
      return value;
  }
  return value;
}

// Up to four dimensions in any order of memory, some reversed, some with gaps, some broadcast.
std::vector<Dimension> random_dims(std::size_t element, Random& random) {
  std::vector<Dimension> dims(random.below(5));
  auto step = static_cast<std::int64_t>(element);
  for (Dimension& dim : dims) {
    dim.extent = static_cast<std::int64_t>(1 + random.below(6));
    const bool broadcast = random.below(5) == 0;
    const bool reversed = random.below(4) == 0;
    dim.stride = broadcast ? 0 : reversed ? -step : step;
    if (!broadcast) step *= dim.extent;
    if (random.below(4) == 0) step += static_cast<std::int64_t>(element * random.below(3));
  }
  if (random.below(3)) std::reverse(dims.begin(), dims.end());  // C order, which fuses
  return dims;
}

std::vector<Dimension> swapped_at_random(std::vector<Dimension> dims, Random& random) {
  if (dims.size() > 1) std::swap(dims[random.below(dims.size())], dims[random.below(dims.size())]);
  return dims;
}

// The values read as Real are those `expected`, all but its last one. Returns whether they lay
// there.
template <class Real>
bool check_values(const Operand& operand, std::int64_t problem, std::int64_t begin,
                  const std::vector<double>& expected) {
  std::vector<Real> own;
  const std::size_t count = expected.size() - 1;
  const Real* values = read_values(operand, problem, begin, static_cast<std::int64_t>(count), own);
  CHECK(std::equal(values, values + count, expected.begin()));
  return values != own.data();
}

}  // namespace

TEST_CASE("an operand reads any strides of any dtype, from any item on, and the bits of halves") {
  Random random(1);
  constexpr std::int64_t kMiddle = 1 << 17;
  std::vector<std::byte> memory(2 * kMiddle + 16);
  for (std::byte& byte : memory) byte = static_cast<std::byte>(random.below(0x70));  // no NaN
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32, DType::float64}) {
    int n_in_place = 0;
    for (int round = 0; round < 400; ++round) {
      const auto item_dims = swapped_at_random(random_dims(size_of(dtype), random), random);
      const auto problem_dims = random_dims(size_of(dtype) * 7, random);
      const std::byte* data = memory.data() + kMiddle + random.below(9);  // unaligned as well
      const Operand operand("weights", data, dtype, problem_dims, item_dims);
      REQUIRE(operand.n_items() == count_of(item_dims));
      REQUIRE(operand.n_problems() == count_of(problem_dims));
      const auto problem =
          static_cast<std::int64_t>(random.below(static_cast<std::size_t>(operand.n_problems())));
      const auto begin =
          static_cast<std::int64_t>(random.below(static_cast<std::size_t>(operand.n_items())));
      const auto count = static_cast<std::int64_t>(
          random.below(static_cast<std::size_t>(operand.n_items() - begin) + 1));
      std::vector<double> values(static_cast<std::size_t>(count) + 1, -1.0);
      operand.load(problem, begin, count, values.data());
      int n_wrong = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t offset =
            offset_of(problem_dims, problem) + offset_of(item_dims, begin + i);
        n_wrong += values[static_cast<std::size_t>(i)] != slow_read(dtype, data + offset);
      }
      CHECK(n_wrong == 0);
      CHECK(values.back() == -1.0);
      n_in_place += check_values<double>(operand, problem, begin, values);
      if (dtype != DType::float64)
        n_in_place += check_values<float>(operand, problem, begin, values);
      if (size_of(dtype) != sizeof(std::uint16_t)) continue;
      std::vector<std::uint16_t> spare(static_cast<std::size_t>(count));
      const std::uint16_t* bits = operand.bits(problem, begin, count, spare.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const float value =
            dtype == DType::float16 ? float16_to_float(bits[i]) : bfloat16_to_float(bits[i]);
        n_wrong += values[static_cast<std::size_t>(i)] != static_cast<double>(value);
      }
      CHECK(n_wrong == 0);
    }
    CHECK((n_in_place > 0) == (size_of(dtype) > sizeof(std::uint16_t)));
  }
}

TEST_CASE("a scalar is one problem of one item, and broadcasts") {
  const float value = 2.5f;
  const Operand scalar("importance", bytes_of(&value), DType::float32, {}, {});
  CHECK(scalar.n_problems() == 1);
  CHECK(scalar.n_items() == 1);
  const Operand broadcast("importance", bytes_of(&value), DType::float32, {{3, 0}},
                          {{4, 0}, {5, 0}});
  CHECK(broadcast.n_problems() == 3);
  CHECK(broadcast.n_items() == 20);
  std::vector<double> values(20);
  broadcast.load(2, 0, 20, values.data());
  CHECK(values == std::vector<double>(20, 2.5));
}
