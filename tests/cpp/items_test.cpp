#include "cpu/base/items.h"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <type_traits>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// Of two problems of 50 items, one bad in the second.
template <class Real>
void check_names(const Problems& problems, const std::string& operand) {
  ItemReader<Real> reader;
  CHECK_THROWS_WITH_AS(check_items(problems, reader.read(problems, 1, 10, 40)), operand.c_str(),
                       InvalidValue);
  CHECK_NOTHROW(check_items(problems, reader.read(problems, 0, 0, 50)));
}

bool reads_floats(const Problems& problems) {
  bool floats = false;
  with_real(problems, [&](auto real) { floats = std::is_same_v<decltype(real), float>; });
  return floats;
}

}  // namespace

TEST_CASE("items are read as floats where all of their operands fit in floats") {
  const std::vector<float> floats(3, 1.0f);
  const std::vector<double> doubles(3, 1.0);
  const std::vector<std::uint16_t> halves(3, 0x3c00);
  const Operand narrow = contiguous(floats, "weights");
  const Operand wide = contiguous(doubles, "weights");
  const Operand half("weights", bytes_of(halves.data()), DType::float16, {}, {{3, 2}});
  CHECK(reads_floats({&narrow, nullptr, nullptr}));
  CHECK(reads_floats({&narrow, &half, &narrow}));
  CHECK_FALSE(reads_floats({&wide, nullptr, nullptr}));
  CHECK_FALSE(reads_floats({&narrow, &wide, nullptr}));
  CHECK_FALSE(reads_floats({&half, &narrow, &wide}));
}

TEST_CASE("a missing importance is 1 and a missing quartic importance nothing") {
  const std::vector<float> weights{1.0f, 2.0f, 3.0f};
  const Operand operand = contiguous(weights, "weights");
  ItemReader<float> reader;
  const ItemRun<float> items = reader.read({&operand, nullptr, nullptr}, 0, 1, 2);
  REQUIRE(items.count == 2);
  CHECK(items.weight == weights.data() + 1);
  CHECK(items.importance[0] == 1.0f);
  CHECK(items.importance[1] == 1.0f);
  CHECK(items.quartic_importance == nullptr);
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
        Case{"importance", &Items::importance, {kNan, kInfinity, -1e-30}},
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
      check_names<double>(problems.view(), bad.operand);
      check_names<float>(problems.view(), bad.operand);
    }
  }
}

TEST_CASE("the ends of double's range and zero importances are valid") {
  Items items;
  items.weight = {std::numeric_limits<double>::max(), -std::numeric_limits<double>::max(), -0.0};
  items.importance = {0.0, -0.0, std::numeric_limits<double>::max()};
  items.quartic_importance = {0.0, std::numeric_limits<double>::denorm_min(), 0.0};
  const ItemProblems problems(items, true);
  ItemReader<double> reader;
  CHECK_NOTHROW(check_items(problems.view(), reader.read(problems.view(), 0, 0, 3)));
}
