#include "cpu/sort/radix_sort.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/base/buffer.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

template <class Key>
using Keys = Buffer<Keyed<Key>>;

template <class Key, class Draw>
Keys<Key> drawn(std::size_t n, Draw&& draw) {
  Keys<Key> items(n);
  for (std::size_t i = 0; i < n; ++i) items[i] = {draw(), static_cast<std::uint32_t>(i)};
  return items;
}

template <class Key>
void check_sorts(const Keys<Key>& items) {
  Keys<Key> expected = items;
  std::stable_sort(expected.begin(), expected.end(),
                   [](const auto& a, const auto& b) { return a.key < b.key; });
  Keys<Key> sorted = items;
  Keys<Key> spare(3);  // of any size
  radix_sort(sorted, spare);
  REQUIRE(sorted.size() == items.size());
  CHECK(
      std::equal(sorted.begin(), sorted.end(), expected.begin(),
                 [](const auto& a, const auto& b) { return a.key == b.key && a.item == b.item; }));
}

// Sizes about the change of digit width.
constexpr std::size_t kSizes[] = {0, 1, 2, 3, 100, 2047, 2048, 2049, 100003};

template <class Key>
void check_key_patterns() {
  Random random(11);
  for (const std::size_t n : kSizes) {
    CAPTURE(n);
    check_sorts(drawn<Key>(n, [&] { return static_cast<Key>(random.bits()); }));
    check_sorts(drawn<Key>(n, [&] { return static_cast<Key>(random.below(5)); }));
    check_sorts(drawn<Key>(n, [] { return Key{42}; }));
    const int top = static_cast<int>(sizeof(Key) * 8) - 1;
    check_sorts(drawn<Key>(n, [&] { return static_cast<Key>((random.bits() & 1) << top); }));
    Key descending = std::numeric_limits<Key>::max();
    check_sorts(drawn<Key>(n, [&] { return descending--; }));
  }
}

template <class Value>
void check_key_order(const std::vector<Value>& ascending) {
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    CHECK(value_of_key(sort_key(ascending[i])) == static_cast<double>(ascending[i]));
    if (i > 0) CHECK(sort_key(ascending[i - 1]) < sort_key(ascending[i]));
  }
  CHECK(sort_key(Value(-0.0)) == sort_key(Value(0.0)));
}

template <class Value>
std::vector<Value> values_of_every_kind() {
  using Limits = std::numeric_limits<Value>;
  return {-Limits::infinity(),
          -Limits::max(),
          Value(-1.5),
          -Limits::min(),
          -Limits::denorm_min(),
          Value(0),
          Limits::denorm_min(),
          Limits::min(),
          Value(1),
          Value(1) + Limits::epsilon(),
          Limits::max(),
          Limits::infinity()};
}

}  // namespace

TEST_CASE("32-bit keys sort stably") { check_key_patterns<std::uint32_t>(); }

TEST_CASE("64-bit keys sort stably") { check_key_patterns<std::uint64_t>(); }

TEST_CASE("few keys sort into the same stable order, whichever of their bits vary") {
  Random random(12);
  for (const std::size_t n : {0, 1, 2, 3, 511, 512, 1023, 1024, 4097, 32768}) {
    CAPTURE(n);
    std::vector<Keys<std::uint32_t>> patterns;
    const auto add = [&](auto&& draw) { patterns.push_back(drawn<std::uint32_t>(n, draw)); };
    add([&] { return static_cast<std::uint32_t>(random.bits()); });
    add([&] { return sort_key(static_cast<float>(random.normal())); });
    add([] { return 42u; });
    add([&] { return static_cast<std::uint32_t>(random.below(5)); });
    // Too many that differ only in their last bits for inserting them.
    add([&] {
      return static_cast<std::uint32_t>(random.below(1 << 10) + (random.below(2) << 31));
    });
    std::uint32_t descending = 0xffffffffu;
    add([&] { return descending--; });
    for (const Keys<std::uint32_t>& items : patterns) {
      Keys<std::uint32_t> expected = items;
      std::stable_sort(expected.begin(), expected.end(),
                       [](const auto& a, const auto& b) { return a.key < b.key; });
      Keys<std::uint32_t> sorted = items;
      Keys<std::uint32_t> spare;
      sort_few(sorted, spare);
      CHECK(std::equal(
          sorted.begin(), sorted.end(), expected.begin(), expected.end(),
          [](const auto& a, const auto& b) { return a.key == b.key && a.item == b.item; }));
    }
  }
}

TEST_CASE("keys keep the order of the values and give them back") {
  check_key_order(values_of_every_kind<float>());
  check_key_order(values_of_every_kind<double>());
}
