#pragma once

#include <cstdint>
#include <vector>

#include "cuda/items/batch.h"
#include "support.h"

// Host memory as the batches that kernels read.
namespace wkmeans::cuda::testing {

using wkmeans::testing::for_each_family;
using wkmeans::testing::ItemProblems;
using wkmeans::testing::Items;
using wkmeans::testing::Random;

template <class Value>
constexpr ItemType type_of() {
  return sizeof(Value) == 2   ? ItemType::float16
         : sizeof(Value) == 4 ? ItemType::float32
                              : ItemType::float64;
}

template <class Value>
BatchOperand operand_of(const std::vector<Value>& values, std::int64_t n_problems = 1) {
  return {values.data(), type_of<Value>(), static_cast<std::int64_t>(values.size()) / n_problems,
          1};
}

inline Batch batch_of(const Items& items, bool quartic, std::int64_t n_problems = 1) {
  Batch batch;
  batch.n_problems = n_problems;
  batch.n_items = static_cast<std::int64_t>(items.size()) / n_problems;
  batch.weights = operand_of(items.weight, n_problems);
  batch.importance = operand_of(items.importance, n_problems);
  if (quartic) batch.quartic_importance = operand_of(items.quartic_importance, n_problems);
  return batch;
}

}  // namespace wkmeans::cuda::testing
