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

constexpr int kMostCostExponent = 480;  // below the root of the largest double

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

  WKM_HD explicit CostExponents(const Magnitudes& largest) {
    const int count = above(largest.n_items);
    weight = above(largest.weight);
    importance = above(largest.importance) + count;
    quartic_importance = above(largest.quartic_importance) + count;
    const int distance = weight + 1;
    const int quadratic = importance + 2 * distance;
    const int quartic = quartic_importance + 4 * distance;
    cost = quadratic > quartic ? quadratic : quartic;
    stiffness = cost - 2 * distance;
  }

private:
  static constexpr int kNone = INT_MIN / 16;

  WKM_HD static int above(double value) { return value > 0.0 ? std::ilogb(value) + 1 : kNone; }
};

// Whether every figure of a problem, its costs' squares and what a pinned zero weighs among them,
// is far from either end of a double's range. Its largest absolute values lie between these.
WKM_HD bool are_in_range(const Magnitudes& least, const Magnitudes& most) {
  constexpr int kFarthestWeight = 200;
  constexpr int kLeastCost = -300;
  constexpr int kMostStiffness = 700;
  constexpr int kMostImportance = 900;
  const CostExponents low(least);
  const CostExponents high(most);
  return low.weight >= -kFarthestWeight && high.weight <= kFarthestWeight &&
         low.cost >= kLeastCost && high.cost <= kMostCostExponent &&
         high.stiffness <= kMostStiffness && high.importance <= kMostImportance &&
         high.quartic_importance <= kMostImportance;
}

// What it takes to bring a problem's figures into that range; nothing as a rule. Then the costs
// come to lie high in it: the light parts of a problem need the room below. The further out the
// weights, the less weigh their importances, and so what underflow may hide; but the light ones
// among these need room too.
WKM_HD PowersOfTwo powers_to_range(const Magnitudes& largest) {
  constexpr int kWeight = 64;  // distances a few hundred binades smaller still have fourth powers
  constexpr int kMostWeight = 128;  // the end of float32
  if (!(largest.weight > 0.0) || are_in_range(largest, largest)) return {};
  const CostExponents e(largest);
  // A cost counts I (w - c)^2 and H (w - c)^4: either may be the larger one once w has moved.
  PowersOfTwo powers;
  if (e.weight < kWeight || e.weight > kMostWeight) powers.weight = kWeight - e.weight;
  powers.cost = kMostCostExponent - e.cost;
  return powers;
}

}  // namespace wkmeans
