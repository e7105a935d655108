#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/parallel.h"

namespace wkmeans {

// One side of per-example products. A value lies at the sum of the offsets of its seed, example,
// group, row and position, so that the windows of a convolution need no copy. One of the two sides
// has a value for each seed; all seeds share the other.
template <class T>
struct ProductFactor {
  const T* values = nullptr;
  bool is_shared = false;
  std::int64_t seed_stride = 0;
  std::int64_t example_stride = 0;
  std::int64_t group_stride = 0;
  std::vector<std::int64_t> row_offsets;
  std::vector<std::int64_t> position_offsets;

  const T* at(std::int64_t seed, std::int64_t example, std::int64_t group) const {
    return values + seed * seed_stride + example * example_stride + group * group_stride;
  }
  std::int64_t n_rows() const { return static_cast<std::int64_t>(row_offsets.size()); }
};

// With q = sign * g^2 for each seed, what is summed over examples: sum_s q; (sum_s q)^2; or
// ((sum_s q)^2 - sum_s q^2) n_seeds / (n_seeds - 1), in which no seed meets itself.
enum class SquareReduction { first, second, pairs };

// The products g = left right', summed over positions, of each seed, example and group.
template <class T>
struct SquaredProducts {
  ProductFactor<T> left;
  ProductFactor<T> right;
  std::int64_t n_seeds = 1;
  std::int64_t n_examples = 0;
  std::int64_t n_groups = 1;
  const T* signs = nullptr;  // (seeds, examples); absent where all are positive
  SquareReduction reduction = SquareReduction::first;
  double scale = 1.0;

  std::int64_t n_positions() const {
    return static_cast<std::int64_t>(left.position_offsets.size());
  }
  T sign(std::int64_t seed, std::int64_t example) const {
    return signs ? signs[seed * n_examples + example] : T{1};
  }
};

// Adds `scale` times the sum over examples to totals (groups, left rows, right rows). No product is
// stored: squares are taken while a tile of them is in cache. Examples are added in double.
template <class T>
void add_squared_products(const SquaredProducts<T>& products, const Parallel& parallel,
                          double* totals);

// The same for a single position, where squares factorise: one matrix product over examples, of the
// squares of both sides. Not for `pairs`.
template <class T>
void add_products_of_squares(const SquaredProducts<T>& products, const Parallel& parallel,
                             double* totals);

}  // namespace wkmeans
