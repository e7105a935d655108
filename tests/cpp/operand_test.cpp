#include "cpu/operand.h"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <string>

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

}  // namespace

TEST_CASE("an operand reads any strides of any dtype, from any item on, and the bits of halves") {
  Random random(1);
  constexpr std::int64_t kMiddle = 1 << 17;
  std::vector<std::byte> memory(2 * kMiddle + 16);
  for (std::byte& byte : memory) byte = static_cast<std::byte>(random.below(0x70));  // no NaN
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32, DType::float64}) {
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

TEST_CASE("a missing importance is 1 and a missing quartic importance nothing") {
  const std::vector<float> weights{1.0f, 2.0f, 3.0f};
  const Operand operand = contiguous(weights, "weights");
  ItemBuffer items;
  load_items({&operand, nullptr, nullptr}, 0, 1, 2, items);
  CHECK(items.weight == std::vector<double>{2.0, 3.0});
  CHECK(items.importance == std::vector<double>{1.0, 1.0});
  CHECK(items.quartic_importance.empty());
}

TEST_CASE("an operand with an invalid value is named") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Case {
    std::string operand;
    std::vector<double> Items::* values;
    std::vector<double> bad_values;
  };
  for (const Case& bad :
       {Case{"weights", &Items::weight, {kNan, kInfinity, -kInfinity}},
        Case{"importance", &Items::importance, {kNan, kInfinity, -1e-300}},
        Case{"quartic_importance", &Items::quartic_importance, {kNan, kInfinity, -1.0}}}) {
    for (const double value : bad.bad_values) {
      CAPTURE(bad.operand);
      CAPTURE(value);
      Items items;
      for (auto* values : {&items.weight, &items.importance, &items.quartic_importance}) {
        values->assign(100, 1.0);
      }
      (items.*bad.values)[73] = value;
      const ItemProblems problems(items, true, 2);
      ItemBuffer buffer;
      load_items(problems.view(), 1, 10, 40, buffer);
      CHECK_THROWS_WITH_AS(check_items(problems.view(), buffer), bad.operand.c_str(), InvalidValue);
      load_items(problems.view(), 0, 0, 50, buffer);
      CHECK_NOTHROW(check_items(problems.view(), buffer));
    }
  }
}

TEST_CASE("the ends of double's range and zero importances are valid") {
  Items items;
  items.weight = {std::numeric_limits<double>::max(), -std::numeric_limits<double>::max(), -0.0};
  items.importance = {0.0, -0.0, std::numeric_limits<double>::max()};
  items.quartic_importance = {0.0, std::numeric_limits<double>::denorm_min(), 0.0};
  const ItemProblems problems(items, true);
  ItemBuffer buffer;
  load_items(problems.view(), 0, 0, 3, buffer);
  CHECK_NOTHROW(check_items(problems.view(), buffer));
}
