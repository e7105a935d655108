#pragma once

#include <cstdint>

#include "cuda/items/batch.h"
#include "math/centroid_grid.h"

// What the solver of many small problems is asked for and writes.
namespace wkmeans::cuda {

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

// lower_bound <= optimum <= cost hold as real numbers.
struct SmallOutputs {
  double* centroids = nullptr;  // n_problems x k, ascending; surplus entries repeat the largest
  void* labels = nullptr;       // n_problems x n_items
  LabelType label_type = LabelType::uint8;
  double* costs = nullptr;
  double* lower_bounds = nullptr;
  double* scales = nullptr;    // of int8 centroids, else 1
  BadItems* errors = nullptr;  // one for the whole batch
};

constexpr std::int64_t kMostSmallItems = 16384;
constexpr std::int64_t kMostSmallClusters = 256;

inline bool fits_small_batch(std::int64_t n_items, std::int64_t k) {
  return n_items >= 1 && n_items <= kMostSmallItems && k >= 1 && k <= kMostSmallClusters;
}

}  // namespace wkmeans::cuda
