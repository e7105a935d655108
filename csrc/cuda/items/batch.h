#pragma once

#include <cstdint>

// Problems of one size, as kernels find them. Every pointer is the device's (in the tests that
// emulate one, the host's).
namespace wkmeans::cuda {

enum class ItemType : std::uint8_t { float16, bfloat16, float32, float64 };

// One operand of all problems: item i of problem p is at values[p * problem_stride + i *
// item_stride]. Strides count items; a stride of zero repeats.
struct BatchOperand {
  const void* values = nullptr;  // null: absent
  ItemType type = ItemType::float32;
  std::int64_t problem_stride = 0;
  std::int64_t item_stride = 1;
};

struct Batch {
  std::int64_t n_problems = 0;
  std::int64_t n_items = 0;  // of each problem
  BatchOperand weights;
  BatchOperand importance;          // absent: 1 each
  BatchOperand quartic_importance;  // absent: 0 each
};

enum class LabelType : std::uint8_t { uint8, uint32 };

// The least index (problem * n_items + item) of an item that no solver can take; kNone where all
// are sound. A problem with such an item is left unsolved.
struct BadItems {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  std::uint64_t weight = kNone;              // not finite
  std::uint64_t importance = kNone;          // not finite or negative
  std::uint64_t quartic_importance = kNone;  // not finite or negative
};

}  // namespace wkmeans::cuda
