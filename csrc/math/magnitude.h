#pragma once

#include <climits>
#include <cmath>

#include "math/platform.h"

namespace wkmeans {

// The largest absolute values of a problem of so many items.
struct Magnitudes {
  double weight = 0.0, importance = 0.0, quartic_importance = 0.0;
  double n_items = 0.0;
};

// Weights are multiplied by 2^weight and costs by 2^cost: which importances follow. Multiplying by
// a power of two takes no digit from any number, so the optimum stays the same.
struct PowersOfTwo {
  int weight = 0, cost = 0;

  WKM_HD int importance() const { return cost - 2 * weight; }
  WKM_HD int quartic_importance() const { return cost - 4 * weight; }
  WKM_HD bool change_nothing() const { return weight == 0 && cost == 0; }
};

// How large the parts of a problem's costs are, as exponents of two: no part is as large as 2^this.
struct CostExponents {
  int weight;              // |w|
  int importance;          // sum I
  int quartic_importance;  // sum H
  int cost;                // sum I (w - c)^2 + H (w - c)^4
  int stiffness;           // sum I + H (w - c)^2

  WKM_HD CostExponents(int of_weight, int of_importance, int of_quartic_importance)
      : weight(of_weight), importance(of_importance), quartic_importance(of_quartic_importance) {
    const int distance = weight + 1;
    const int quadratic = importance + 2 * distance;
    const int quartic = quartic_importance + 4 * distance;
    cost = quadratic > quartic ? quadratic : quartic;
    stiffness = cost - 2 * distance;
  }

  WKM_HD static CostExponents of(const Magnitudes& largest) {
    const int count = above(largest.n_items);
    return {above(largest.weight), above(largest.importance) + count,
            above(largest.quartic_importance) + count};
  }

  WKM_HD CostExponents scaled_by(const PowersOfTwo& powers) const {
    return {weight + powers.weight, importance + powers.importance(),
            quartic_importance + powers.quartic_importance()};
  }

private:
  static constexpr int kNone = INT_MIN / 16;

  WKM_HD static int above(double value) { return value > 0.0 ? std::ilogb(value) + 1 : kNone; }
};

constexpr int kMostCostExponent = 480;  // below the root of the largest double

// Whether every figure of a problem, its costs' squares and what a pinned zero weighs among them,
// is far from either end of a double's range.
WKM_HD bool is_in_range(const CostExponents& e) {
  constexpr int kFarthestWeight = 200;
  constexpr int kLeastCost = -300;
  constexpr int kMostStiffness = 700;
  constexpr int kMostImportance = 900;
  return e.weight >= -kFarthestWeight && e.weight <= kFarthestWeight && e.cost >= kLeastCost &&
         e.cost <= kMostCostExponent && e.stiffness <= kMostStiffness &&
         e.importance <= kMostImportance && e.quartic_importance <= kMostImportance;
}

// What it takes for a problem to be in range; nothing as a rule. Then its costs come to lie high
// there: the light parts of a problem need the room below. Weights move only where they must, since
// what underflow may hide grows with the importances that they leave behind.
WKM_HD PowersOfTwo powers_to_range(const Magnitudes& largest) {
  constexpr int kWeight = 64;  // distances a few hundred binades smaller still have fourth powers
  if (!(largest.weight > 0.0)) return {};
  const CostExponents e = CostExponents::of(largest);
  if (is_in_range(e)) return {};
  PowersOfTwo powers;
  powers.cost = kMostCostExponent - e.cost;
  if (!is_in_range(e.scaled_by(powers))) powers.weight = kWeight - e.weight;
  return powers;
}

}  // namespace wkmeans
