#pragma once

#include <cstdint>

#include "math/centroid_grid.h"

// What the solver of many small problems reads and writes. Every pointer is the device's (in the
// tests that emulate one, the host's).
namespace wkmeans::cuda {

enum class ItemType : std::uint8_t { float16, bfloat16, float32, float64 };

// One operand of all problems: item i of problem p is at values[p * problem_stride + i *
// item_stride]. Strides count items; a stride of zero repeats.
struct SmallOperand {
  const void* values = nullptr;  // null: absent
  ItemType type = ItemType::float32;
  std::int64_t problem_stride = 0;
  std::int64_t item_stride = 1;
};

struct SmallBatch {
  std::int64_t n_problems = 0;
  std::int64_t n_items = 0;  // of each problem
  SmallOperand weights;
  SmallOperand importance;          // absent: 1 each
  SmallOperand quartic_importance;  // absent: 0 each
};

enum class SmallPlacement : std::uint8_t {
  anywhere,         // float64 centroids
  rounded_to_grid,  // the free optimum, each centroid then moved to the grid
  optimal_on_grid,  // the optimum among codebooks on the grid
};

enum class SmallScale : std::uint8_t {
  one,
  widest_weight,  // int8: the grid counts steps, of which a problem's widest weight takes 127
};

enum class SmallZero : std::uint8_t { free, pinned };  // pinned: one centroid is exactly zero

struct SmallOptions {
  std::int64_t k = 1;
  SmallPlacement placement = SmallPlacement::anywhere;
  CentroidGrid grid = {};  // of the placements on a grid; {0, 1, 127} for int8
  SmallScale scale = SmallScale::one;
  SmallZero zero = SmallZero::free;
};

enum class LabelType : std::uint8_t { uint8, uint16, uint32 };

// The least index (problem * n_items + item) of an item that no solver can take; kNone where all
// are sound. A problem with such an item is left unsolved.
struct SmallErrors {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  std::uint64_t weight = kNone;              // not finite
  std::uint64_t importance = kNone;          // not finite or negative
  std::uint64_t quartic_importance = kNone;  // not finite or negative
};

// lower_bound <= optimum <= cost hold as real numbers.
struct SmallOutputs {
  double* centroids = nullptr;  // n_problems x k, ascending; surplus entries repeat the largest
  void* labels = nullptr;       // n_problems x n_items
  LabelType label_type = LabelType::uint8;
  double* costs = nullptr;
  double* lower_bounds = nullptr;
  double* scales = nullptr;       // of int8 centroids, else 1
  SmallErrors* errors = nullptr;  // one for the whole batch
};

constexpr std::int64_t kMostSmallItems = 16384;
constexpr std::int64_t kMostSmallClusters = 256;

inline bool fits_small_batch(std::int64_t n_items, std::int64_t k) {
  return n_items >= 1 && n_items <= kMostSmallItems && k >= 1 && k <= kMostSmallClusters;
}

}  // namespace wkmeans::cuda
