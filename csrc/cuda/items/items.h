#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device/atomic.h"
#include "cuda/items/batch.h"
#include "cuda/items/stored_value.h"
#include "math/platform.h"

namespace wkmeans::cuda {

// One operand's items of one problem, read as double, which holds every dtype exactly; an absent
// operand is a constant.
struct ItemColumn {
  const void* values;
  std::int64_t stride;  // in items
  ItemType type;
  double constant;

  WKM_HD double at(std::uint64_t i) const {
    if (values == nullptr) return constant;
    return stored_value(values, type, static_cast<std::int64_t>(i) * stride);
  }

  // The bits of a half.
  WKM_HD std::uint16_t bits_at(std::uint64_t i) const {
    return static_cast<const std::uint16_t*>(values)[static_cast<std::int64_t>(i) * stride];
  }
};

WKM_HD std::size_t size_of(ItemType type) {
  return type == ItemType::float64 ? 8 : type == ItemType::float32 ? 4 : 2;
}

// The column of `operand` that problem `problem` reads.
WKM_HD ItemColumn column_of(const BatchOperand& operand, std::int64_t problem, double absent) {
  if (operand.values == nullptr) return {nullptr, 0, ItemType::float64, absent};
  const auto* bytes = static_cast<const std::byte*>(operand.values);
  const auto size = static_cast<std::int64_t>(size_of(operand.type));
  return {bytes + problem * operand.problem_stride * size, operand.item_stride, operand.type,
          absent};
}

WKM_HD bool is_finite(double value) { return value - value == 0.0; }

struct Item {
  double weight, importance, quartic_importance;

  WKM_HD bool counts() const { return importance > 0.0 || quartic_importance > 0.0; }

  // Whether a solver can take it; if not, notes the least such `index` under every operand that is
  // at fault, for the host to look at once the pass is done.
  WKM_HD bool check(std::uint64_t index, BadItems* errors) const {
    const bool good_weight = is_finite(weight);
    const bool good_importance = is_importance(importance);
    const bool good_quartic = is_importance(quartic_importance);
    if (good_weight && good_importance && good_quartic) return true;
    if (!good_weight) lower(&errors->weight, index);
    if (!good_importance) lower(&errors->importance, index);
    if (!good_quartic) lower(&errors->quartic_importance, index);
    return false;
  }

private:
  WKM_HD static bool is_importance(double value) { return value >= 0.0 && is_finite(value); }
};

// The items of one problem.
struct ItemColumns {
  std::uint64_t size;
  ItemColumn weight, importance, quartic_importance;

  WKM_HD bool quartic() const { return quartic_importance.values != nullptr; }
  WKM_HD Item at(std::uint64_t i) const {
    return {weight.at(i), importance.at(i), quartic_importance.at(i)};
  }
};

WKM_HD ItemColumns columns_of(const Batch& batch, std::int64_t problem) {
  return {static_cast<std::uint64_t>(batch.n_items), column_of(batch.weights, problem, 0.0),
          column_of(batch.importance, problem, 1.0),
          column_of(batch.quartic_importance, problem, 0.0)};
}

}  // namespace wkmeans::cuda
