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

// What it takes for every figure of a problem, its costs' squares and what a pinned zero weighs
// among them, to be far from either end of a double's range; nothing as a rule. Then the costs come
// to lie high in that range: the light parts of a problem need the room below. The further out the
// weights, the less weigh their importances, and so what underflow may hide; but the light ones
// among these need room too.
WKM_HD PowersOfTwo powers_to_range(const Magnitudes& largest) {
  constexpr int kFarthestWeight = 200;
  constexpr int kLeastCost = -300;
  constexpr int kMostCost = 480;  // below the root of the largest double
  constexpr int kMostStiffness = 700;
  constexpr int kMostImportance = 900;
  constexpr int kWeight = 64;  // distances a few hundred binades smaller still have fourth powers
  constexpr int kMostWeight = 128;  // the end of float32
  if (!(largest.weight > 0.0)) return {};
  const CostExponents e(largest);
  const bool in_range = e.weight >= -kFarthestWeight && e.weight <= kFarthestWeight &&
                        e.cost >= kLeastCost && e.cost <= kMostCost &&
                        e.stiffness <= kMostStiffness && e.importance <= kMostImportance &&
                        e.quartic_importance <= kMostImportance;
  if (in_range) return {};
  // A cost counts I (w - c)^2 and H (w - c)^4: either may be the larger one once w has moved.
  PowersOfTwo powers;
  if (e.weight < kWeight || e.weight > kMostWeight) powers.weight = kWeight - e.weight;
  powers.cost = kMostCost - e.cost;
  return powers;
}

}  // namespace wkmeans
