#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cpu/base/operand.h"
#include "cpu/read/points.h"

// Data and views that the tests share.
namespace wkmeans::testing {

constexpr int kThreadCounts[] = {1, 2, 3, 7};

class Random {
public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(bits() % n); }
  double uniform(double low, double high) {
    return low + (high - low) * (static_cast<double>(bits() >> 11) * 0x1p-53);
  }
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(uniform(0x1p-60, 1.0)));
    return radius * std::cos(uniform(0.0, 6.283185307179586));
  }
  double of_decades(double low, double high) { return std::pow(10.0, uniform(low, high)); }

private:
  std::mt19937_64 engine_;
};

struct Items {
  std::vector<double> weight, importance, quartic_importance;

  std::size_t size() const { return weight.size(); }
};

struct WeightFamily {
  const char* name;
  double (*draw)(Random&);
};

constexpr WeightFamily kWeightFamilies[] = {
    {"normal", [](Random& r) { return r.normal(); }},
    {"clump 1e-12 wide", [](Random& r) { return 1.0 + 1e-12 * r.uniform(0.0, 1.0); }},
    {"offset 1e4, spread 1e-3", [](Random& r) { return 1e4 + 1e-3 * r.normal(); }},
    {"two far clumps", [](Random& r) { return (r.below(2) ? 1e3 : -1e3) + 1e-6 * r.normal(); }},
    {"heavy tails", [](Random& r) { return std::pow(r.normal(), 7) / r.uniform(1e-3, 1.0); }},
    {"a grid with ties", [](Random& r) { return 0.25 * static_cast<double>(r.below(12)); }},
    {"tiny", [](Random& r) { return 1e-30 * r.normal(); }},
};

struct ImportanceFamily {
  const char* name;
  double (*draw)(Random&);
};

constexpr ImportanceFamily kImportanceFamilies[] = {
    {"unit", [](Random&) { return 1.0; }},
    {"exp(N(-8, 3))", [](Random& r) { return std::exp(3.0 * r.normal() - 8.0); }},
    {"20 decades", [](Random& r) { return r.of_decades(-10, 10); }},
    {"40 decades", [](Random& r) { return r.of_decades(-20, 20); }},
    {"half of them zero", [](Random& r) { return r.below(2) ? r.uniform(0.0, 1.0) : 0.0; }},
};

// visit(items, name) for `n` items of every family of weights with every two families of
// importances.
template <class Visit>
void for_each_family(std::size_t n, std::uint64_t seed, Visit&& visit) {
  Random random(seed);
  for (const WeightFamily& weights : kWeightFamilies) {
    for (const ImportanceFamily& importances : kImportanceFamilies) {
      for (const ImportanceFamily& quartic_importances : kImportanceFamilies) {
        Items items;
        for (std::size_t i = 0; i < n; ++i) {
          items.weight.push_back(weights.draw(random));
          items.importance.push_back(importances.draw(random));
          items.quartic_importance.push_back(quartic_importances.draw(random));
        }
        // Importances that are zero throughout are another test's topic.
        items.importance[0] = items.quartic_importance[0] = 1.0;
        visit(items, std::string(weights.name) + ", I " + importances.name + ", H " +
                         quartic_importances.name);
      }
    }
  }
}

// The items as a solver sees them, made the slow way.
inline Points sorted_points(const Items& items, bool quartic) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return items.weight[a] < items.weight[b]; });
  Points points;
  for (const std::size_t i : order) {
    const double h = quartic ? items.quartic_importance[i] : 0.0;
    if (!(items.importance[i] > 0.0) && !(h > 0.0)) continue;
    if (points.size() == 0 || points.weight.back() != items.weight[i]) {
      points.weight.push_back(items.weight[i] + 0.0);
      points.importance.push_back(0.0);
      if (quartic) points.quartic_importance.push_back(0.0);
    }
    points.importance.as<double>().back() += items.importance[i];
    if (quartic) points.quartic_importance.as<double>().back() += h;
  }
  return points;
}

// A cell for each point that the items make.
template <class Moments>
std::vector<Moments> single_points(const Items& items) {
  const Points points = sorted_points(items, Moments::kQuartic);
  std::vector<Moments> cells;
  cells.reserve(points.size());
  for (std::size_t i = 0; i < points.size(); ++i)
    cells.push_back(point_moments<Moments>(points, i));
  return cells;
}

// The values of a kernel's buffer, to compare with.
template <class Values>
std::vector<double> plain(const Values& values) {
  return {values.begin(), values.end()};
}

inline const std::byte* bytes_of(const void* data) { return static_cast<const std::byte*>(data); }

template <class Value>
constexpr DType dtype_of() {
  return sizeof(Value) == 2 ? DType::float16 : sizeof(Value) == 4 ? DType::float32 : DType::float64;
}

// `n_problems` contiguous problems, one after another.
template <class Value>
Operand contiguous(const std::vector<Value>& values, const char* name, std::size_t n_problems = 1) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(Value));
  const auto n_items = static_cast<std::int64_t>(values.size() / n_problems);
  return Operand(name, bytes_of(values.data()), dtype_of<Value>(),
                 {{static_cast<std::int64_t>(n_problems), n_items * size}}, {{n_items, size}});
}

// Items as problems; keeps the operands that `view` points to, so it stays where it is made.
class ItemProblems {
public:
  ItemProblems(const Items& items, bool quartic, std::size_t n_problems = 1)
      : weights_(contiguous(items.weight, "weights", n_problems)),
        importance_(contiguous(items.importance, "importance", n_problems)),
        quartic_importance_(contiguous(items.quartic_importance, "quartic_importance", n_problems)),
        quartic_(quartic) {}
  ItemProblems(const ItemProblems&) = delete;
  ItemProblems& operator=(const ItemProblems&) = delete;

  Problems view() const {
    return {&weights_, &importance_, quartic_ ? &quartic_importance_ : nullptr};
  }

private:
  Operand weights_, importance_, quartic_importance_;
  bool quartic_;
};

}  // namespace wkmeans::testing
