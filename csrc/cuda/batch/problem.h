#pragma once

#include <cstdint>

#include "cuda/items/batch.h"
#include "math/centroid_grid.h"

// What the solver of many small problems is asked for and writes.
namespace wkmeans::cuda {

enum class BatchPlacement : std::uint8_t {
  anywhere,         // float64 centroids
  rounded_to_grid,  // the free optimum, each centroid then moved to the grid
  optimal_on_grid,  // the optimum among codebooks on the grid
};

enum class BatchScale : std::uint8_t {
  one,
  widest_weight,  // int8: the grid counts steps, of which a problem's widest weight takes 127
};

enum class BatchZero : std::uint8_t { free, pinned };  // pinned: one centroid is exactly zero

struct BatchOptions {
  std::int64_t k = 1;
  BatchPlacement placement = BatchPlacement::anywhere;
  CentroidGrid grid = {};  // of the placements on a grid; {0, 1, 127} for int8
  BatchScale scale = BatchScale::one;
  BatchZero zero = BatchZero::free;
};

// lower_bound <= optimum <= cost hold as real numbers.
struct ProblemOutputs {
  double* centroids = nullptr;  // n_problems x k, ascending; surplus entries repeat the largest
  void* labels = nullptr;       // n_problems x n_items
  LabelType label_type = LabelType::uint8;
  double* costs = nullptr;
  double* lower_bounds = nullptr;
  double* scales = nullptr;    // of int8 centroids, else 1
  BadItems* errors = nullptr;  // one for the whole batch
};

constexpr std::int64_t kMostItems = 16384;
constexpr std::int64_t kMostClusters = 256;

inline bool fits_batch(std::int64_t n_items, std::int64_t k) {
  return n_items >= 1 && n_items <= kMostItems && k >= 1 && k <= kMostClusters;
}

}  // namespace wkmeans::cuda
