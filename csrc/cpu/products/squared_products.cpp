#include "cpu/products/squared_products.h"

#include <algorithm>

#include "cpu/base/buffer.h"
#include "cpu/products/product_tile.h"

namespace wkmeans {
namespace {

// What is packed of either side at one time stays in a core's second-level cache.
constexpr std::int64_t kLeftBytes = 96 << 10;
constexpr std::int64_t kRightBytes = 320 << 10;
constexpr std::int64_t kMostRows = 96;
constexpr std::int64_t kMostColumns = 320;
// So many positions are multiplied at once; of more, a smaller part, so that blocks stay wide.
constexpr std::int64_t kMostPositions = 1024;
constexpr std::int64_t kPartOfPositions = 256;

Range<std::int64_t> part_of(std::int64_t n, std::int64_t size, std::int64_t number) {
  return {number * size, std::min(n, (number + 1) * size)};
}

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// Which part of a factor is packed.
struct Key {
  std::int64_t seed;
  std::int64_t example;
  Range<std::int64_t> rows;
  Range<std::int64_t> positions;

  bool operator==(const Key& other) const {
    return seed == other.seed && example == other.example && rows == other.rows &&
           positions == other.positions;
  }
};

// Panels of `Width` rows of one side, packed again only where other ones are asked for.
template <class T, int Width>
class Panels {
public:
  Panels(const ProductFactor<T>& factor, std::int64_t group, std::int64_t most_values)
      : factor_(factor), group_(group), packed_(static_cast<std::size_t>(most_values)) {}

  const T* load(Key key) {
    if (factor_.is_shared) key.seed = 0;
    if (!(key == key_)) pack(key);
    key_ = key;
    return packed_.data();
  }

private:
  void pack(const Key& key) {
    const T* values = factor_.at(key.seed, key.example, group_);
    T* out = packed_.data();
    for (std::int64_t row = key.rows.begin; row < key.rows.end; row += Width) {
      const auto n_rows = static_cast<int>(std::min<std::int64_t>(Width, key.rows.end - row));
      const std::int64_t* rows = factor_.row_offsets.data() + row;
      for (std::int64_t p = key.positions.begin; p < key.positions.end; ++p, out += Width) {
        const T* source = values + factor_.position_offsets[static_cast<std::size_t>(p)];
        if (n_rows == Width) {
          for (int r = 0; r < Width; ++r) out[r] = source[rows[r]];
        } else {
          for (int r = 0; r < Width; ++r) out[r] = r < n_rows ? source[rows[r]] : T{0};
        }
      }
    }
  }

  const ProductFactor<T>& factor_;
  std::int64_t group_;
  Buffer<T> packed_;
  Key key_{-1, -1, {0, 0}, {0, 0}};
};

// A block of products, tile after tile, and what has been summed of it.
template <class T>
struct Block {
  std::int64_t n_left_panels;
  std::int64_t n_right_panels;
  T* products;  // over the positions so far
  T* sums;      // of squares over seeds
  T* fourths;   // of their squares; absent unless pairs are asked for
};

struct MultiplyAndSquare {
  template <MultiplyAdd Mode, class T>
  static WKM_ALWAYS_INLINE void run(const T* left, const T* right, std::int64_t n_positions,
                                    bool is_first, bool is_last, T sign, Block<T> block) {
    constexpr int kSize = Tile<T>::kSize;
    std::int64_t at = 0;
    for (std::int64_t j = 0; j < block.n_right_panels; ++j) {
      for (std::int64_t i = 0; i < block.n_left_panels; ++i, at += kSize) {
        T tile[kSize];
        Tile<T>::template multiply<Mode>(left + i * n_positions * Tile<T>::kRows,
                                         right + j * n_positions * Tile<T>::kColumns, n_positions,
                                         tile);
        if (!is_first) {
          for (int k = 0; k < kSize; ++k) tile[k] += block.products[at + k];
        }
        if (!is_last) {
          for (int k = 0; k < kSize; ++k) block.products[at + k] = tile[k];
          continue;
        }
        for (int k = 0; k < kSize; ++k) tile[k] *= sign * tile[k];
        for (int k = 0; k < kSize; ++k) block.sums[at + k] += tile[k];
        if (block.fourths == nullptr) continue;
        for (int k = 0; k < kSize; ++k) block.fourths[at + k] += tile[k] * tile[k];
      }
    }
  }
};

// The sums over seeds, reduced, added to the totals of the block.
struct AddExample {
  template <class T>
  static WKM_ALWAYS_INLINE void run(Block<T> block, SquareReduction reduction, double pair_scale,
                                    double scale, Range<std::int64_t> rows,
                                    Range<std::int64_t> columns, std::int64_t stride,
                                    double* totals) {
    constexpr int kRows = Tile<T>::kRows;
    constexpr int kColumns = Tile<T>::kColumns;
    std::int64_t at = 0;
    for (std::int64_t j = columns.begin; j < columns.end; j += kColumns) {
      const auto n_columns = static_cast<int>(std::min<std::int64_t>(kColumns, columns.end - j));
      for (std::int64_t i = rows.begin; i < rows.end; i += kRows, at += Tile<T>::kSize) {
        const auto n_rows = static_cast<int>(std::min<std::int64_t>(kRows, rows.end - i));
        for (int r = 0; r < n_rows; ++r) {
          const T* sums = block.sums + at + r * kColumns;
          const T* fourths = block.fourths + at + r * kColumns;
          double* target = totals + (i + r) * stride + j;
          switch (reduction) {
            case SquareReduction::first:
              for (int c = 0; c < n_columns; ++c) target[c] += scale * double{sums[c]};
              break;
            case SquareReduction::second:
              for (int c = 0; c < n_columns; ++c) target[c] += scale * double{sums[c] * sums[c]};
              break;
            case SquareReduction::pairs:
              for (int c = 0; c < n_columns; ++c) {
                target[c] += scale * pair_scale * double{sums[c] * sums[c] - fourths[c]};
              }
              break;
          }
        }
      }
    }
  }
};

// All examples for some columns of one group.
template <class T>
class ColumnBlock {
public:
  ColumnBlock(const SquaredProducts<T>& products, std::int64_t group, Range<std::int64_t> columns)
      : products_(products),
        columns_(columns),
        depth_(depth_of(products.n_positions())),
        rows_at_once_(rows_at_once(products.left.n_rows(), depth_)),
        left_(products.left, group, rounded_up(rows_at_once_, Tile<T>::kRows) * depth_),
        right_(products.right, group, rounded_up(columns.size(), Tile<T>::kColumns) * depth_) {
    const std::int64_t n =
        rounded_up(rows_at_once_, Tile<T>::kRows) * rounded_up(columns.size(), Tile<T>::kColumns);
    sums_.resize(static_cast<std::size_t>(n));
    if (products.n_positions() > depth_) gradients_.resize(sums_.size());
    if (products.reduction == SquareReduction::pairs) fourths_.resize(sums_.size());
  }

  void add_to(double* totals) {
    const std::int64_t n_rows = products_.left.n_rows();
    for (std::int64_t example = 0; example < products_.n_examples; ++example) {
      for (std::int64_t begin = 0; begin < n_rows; begin += rows_at_once_) {
        add_example(example, {begin, std::min(n_rows, begin + rows_at_once_)}, totals);
      }
    }
  }

  static std::int64_t most_columns(std::int64_t n_positions) {
    const std::int64_t n =
        kRightBytes / (static_cast<std::int64_t>(sizeof(T)) * depth_of(n_positions));
    return std::min(kMostColumns, rounded_up(std::max<std::int64_t>(n, 1), Tile<T>::kColumns));
  }

private:
  static std::int64_t depth_of(std::int64_t n_positions) {
    return n_positions <= kMostPositions ? std::max<std::int64_t>(n_positions, 1)
                                         : kPartOfPositions;
  }

  static std::int64_t rows_at_once(std::int64_t n_rows, std::int64_t depth) {
    const std::int64_t n = kLeftBytes / (static_cast<std::int64_t>(sizeof(T)) * depth);
    const std::int64_t fit = std::max<std::int64_t>(n / Tile<T>::kRows, 1) * Tile<T>::kRows;
    return std::min({fit, kMostRows, std::max<std::int64_t>(n_rows, 1)});
  }

  void add_example(std::int64_t example, Range<std::int64_t> rows, double* totals) {
    const Block<T> block{panel_count(rows.size(), Tile<T>::kRows),
                         panel_count(columns_.size(), Tile<T>::kColumns), gradients_.data(),
                         sums_.data(), fourths_.empty() ? nullptr : fourths_.data()};
    std::fill(sums_.begin(), sums_.end(), T{0});
    std::fill(fourths_.begin(), fourths_.end(), T{0});
    for (std::int64_t seed = 0; seed < products_.n_seeds; ++seed)
      add_seed(seed, example, rows, block);
    const auto n = static_cast<double>(products_.n_seeds);
    dispatch<AddExample>(block, products_.reduction, n / (n - 1.0), products_.scale, rows, columns_,
                         products_.right.n_rows(), totals);
  }

  void add_seed(std::int64_t seed, std::int64_t example, Range<std::int64_t> rows,
                const Block<T>& block) {
    const T sign = products_.sign(seed, example);
    const std::int64_t n = products_.n_positions();
    for (std::int64_t begin = 0; begin < n; begin += depth_) {
      const Range<std::int64_t> positions{begin, std::min(n, begin + depth_)};
      const T* left = left_.load({seed, example, rows, positions});
      const T* right = right_.load({seed, example, columns_, positions});
      dispatch_fused<MultiplyAndSquare>(left, right, positions.size(), begin == 0,
                                        positions.end == n, sign, block);
    }
  }

  const SquaredProducts<T>& products_;
  Range<std::int64_t> columns_;
  std::int64_t depth_;
  std::int64_t rows_at_once_;
  Panels<T, Tile<T>::kRows> left_;
  Panels<T, Tile<T>::kColumns> right_;
  Buffer<T> gradients_;
  Buffer<T> sums_;
  Buffer<T> fourths_;
};

}  // namespace

// A task owns columns of the totals, and adds to them in the order of examples: neither the threads
// nor the blocks change a bit.
template <class T>
void add_squared_products(const SquaredProducts<T>& products, const Parallel& parallel,
                          double* totals) {
  const std::int64_t n_columns = products.right.n_rows();
  const std::int64_t n_panels = panel_count(n_columns, Tile<T>::kColumns);
  const std::int64_t n_blocks = std::max(
      panel_count(n_columns,
                  static_cast<int>(ColumnBlock<T>::most_columns(products.n_positions()))),
      std::min<std::int64_t>(
          n_panels, panel_count(parallel.n_threads(), static_cast<int>(products.n_groups))));
  if (n_blocks == 0) return;
  const std::int64_t size = panel_count(n_panels, static_cast<int>(n_blocks)) * Tile<T>::kColumns;
  const std::int64_t group_size = products.left.n_rows() * n_columns;
  const std::int64_t n_used = (n_columns + size - 1) / size;
  parallel.run(products.n_groups * n_used, [&](std::int64_t task) {
    const std::int64_t group = task / n_used;
    ColumnBlock<T>(products, group, part_of(n_columns, size, task % n_used))
        .add_to(totals + group * group_size);
  });
}

template void add_squared_products(const SquaredProducts<float>&, const Parallel&, double*);
template void add_squared_products(const SquaredProducts<double>&, const Parallel&, double*);

}  // namespace wkmeans
