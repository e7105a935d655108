#include <algorithm>

#include "cpu/base/buffer.h"
#include "cpu/products/product_tile.h"
#include "cpu/products/squared_products.h"

namespace wkmeans {
namespace {

// Examples multiplied at once, in single precision at most; their sums are added in double.
constexpr std::int64_t kExamples = 256;
// What is packed at one time: of the left side for all threads, of the right by each.
constexpr std::int64_t kLeftRows = 3072;
constexpr std::int64_t kColumns = 256;
// Rows of the left side multiplied while they are in cache, and examples packed by one task.
constexpr std::int64_t kRows = 96;
constexpr std::int64_t kExamplesPacked = 32;

struct AddSquares {
  template <class T>
  static WKM_ALWAYS_INLINE void run(const T* values, const std::int64_t* offsets, std::int64_t n,
                                    bool are_contiguous, T sign, T* sums) {
    if (are_contiguous) {
      const T* from = values + offsets[0];
      for (std::int64_t i = 0; i < n; ++i) sums[i] += sign * (from[i] * from[i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i) {
        const T value = values[offsets[i]];
        sums[i] += sign * (value * value);
      }
    }
  }
};

// One side's squares, summed over its seeds and, where asked for, squared again: panels of `Width`
// rows whose positions are the examples.
template <class T, int Width>
class SquaredPanels {
public:
  SquaredPanels(const SquaredProducts<T>& products, const ProductFactor<T>& factor)
      : products_(products), factor_(factor), n_seeds_(factor.is_shared ? 1 : products.n_seeds) {
    for (std::size_t i = 1; i < factor.row_offsets.size(); ++i) {
      if (factor.row_offsets[i] != factor.row_offsets[i - 1] + 1) are_contiguous_ = false;
    }
  }

  // Some of the `n_examples` whose places the panels have: from the one numbered 0 there, which is
  // `first`.
  void pack(std::int64_t group, Range<std::int64_t> rows, Range<std::int64_t> examples,
            std::int64_t first, std::int64_t n_examples, T* out) const {
    Buffer<T> sums(static_cast<std::size_t>(panel_count(rows.size(), Width) * Width));
    for (std::int64_t example = examples.begin; example < examples.end; ++example) {
      add_seeds(group, rows, example, sums);
      T* target = out + (example - first) * Width;
      for (std::size_t i = 0; i < sums.size(); i += Width, target += n_examples * Width) {
        std::copy_n(sums.data() + i, Width, target);
      }
    }
  }

private:
  void add_seeds(std::int64_t group, Range<std::int64_t> rows, std::int64_t example,
                 Buffer<T>& sums) const {
    std::fill(sums.begin(), sums.end(), T{0});
    for (std::int64_t seed = 0; seed < n_seeds_; ++seed) {
      dispatch<AddSquares>(factor_.at(seed, example, group) + factor_.position_offsets[0],
                           factor_.row_offsets.data() + rows.begin, rows.size(), are_contiguous_,
                           factor_.is_shared ? T{1} : products_.sign(seed, example), sums.data());
    }
    if (products_.reduction == SquareReduction::second) {
      for (T& sum : sums) sum *= sum;
    }
  }

  const SquaredProducts<T>& products_;
  const ProductFactor<T>& factor_;
  std::int64_t n_seeds_;
  bool are_contiguous_ = true;
};

// Tiles of `rows` by `columns`, of which `left` and `right` hold the panels, added to the totals.
struct MultiplyAndAdd {
  template <MultiplyAdd Mode, class T>
  static WKM_ALWAYS_INLINE void run(const T* left, const T* right, std::int64_t n_examples,
                                    Range<std::int64_t> rows, Range<std::int64_t> columns,
                                    double scale, std::int64_t stride, double* totals) {
    constexpr int kTileRows = Tile<T>::kRows;
    constexpr int kTileColumns = Tile<T>::kColumns;
    for (std::int64_t j = 0; j < columns.size(); j += kTileColumns) {
      const auto n_columns =
          static_cast<int>(std::min<std::int64_t>(kTileColumns, columns.size() - j));
      for (std::int64_t i = 0; i < rows.size(); i += kTileRows) {
        const auto n_rows = static_cast<int>(std::min<std::int64_t>(kTileRows, rows.size() - i));
        T tile[Tile<T>::kSize];
        Tile<T>::template multiply<Mode>(left + i * n_examples, right + j * n_examples, n_examples,
                                         tile);
        for (int r = 0; r < n_rows; ++r) {
          double* target = totals + (rows.begin + i + r) * stride + columns.begin + j;
          for (int c = 0; c < n_columns; ++c) {
            target[c] += scale * double{tile[r * kTileColumns + c]};
          }
        }
      }
    }
  }
};

// One group and some of its examples: the left side is packed for all threads, the right by each.
template <class T>
class Group {
public:
  Group(const SquaredProducts<T>& products, std::int64_t number, Range<std::int64_t> examples,
        const Parallel& parallel, double* totals)
      : products_(products),
        number_(number),
        examples_(examples),
        parallel_(parallel),
        totals_(totals),
        left_(products, products.left),
        right_(products, products.right) {}

  void add() {
    in_blocks({0, products_.left.n_rows()}, kLeftRows, Parallel(1), [&](Range<std::int64_t> rows) {
      packed_.resize(static_cast<std::size_t>((rows.size() + Tile<T>::kRows) * examples_.size()));
      in_blocks(examples_, kExamplesPacked, parallel_, [&](Range<std::int64_t> examples) {
        left_.pack(number_, rows, examples, examples_.begin, examples_.size(), packed_.data());
      });
      in_blocks({0, products_.right.n_rows()}, kColumns, parallel_,
                [&](Range<std::int64_t> columns) { add_columns(rows, columns); });
    });
  }

private:
  template <class Task>
  static void in_blocks(Range<std::int64_t> all, std::int64_t size, const Parallel& parallel,
                        Task&& task) {
    parallel.run((all.size() + size - 1) / size, [&](std::int64_t block) {
      const std::int64_t begin = all.begin + block * size;
      task(Range<std::int64_t>{begin, std::min(all.end, begin + size)});
    });
  }

  void add_columns(Range<std::int64_t> rows, Range<std::int64_t> columns) const {
    const std::int64_t n = examples_.size();
    Buffer<T> right(static_cast<std::size_t>((columns.size() + Tile<T>::kColumns) * n));
    right_.pack(number_, columns, examples_, examples_.begin, n, right.data());
    in_blocks(rows, kRows, Parallel(1), [&](Range<std::int64_t> some) {
      dispatch_fused<MultiplyAndAdd>(packed_.data() + (some.begin - rows.begin) * n,
                                     static_cast<const T*>(right.data()), n, some, columns,
                                     products_.scale, products_.right.n_rows(), totals_);
    });
  }

  const SquaredProducts<T>& products_;
  std::int64_t number_;
  Range<std::int64_t> examples_;
  const Parallel& parallel_;
  double* totals_;
  SquaredPanels<T, Tile<T>::kRows> left_;
  SquaredPanels<T, Tile<T>::kColumns> right_;
  Buffer<T> packed_;
};

}  // namespace

template <class T>
void add_products_of_squares(const SquaredProducts<T>& products, const Parallel& parallel,
                             double* totals) {
  const std::int64_t group_size = products.left.n_rows() * products.right.n_rows();
  for (std::int64_t group = 0; group < products.n_groups; ++group) {
    for (std::int64_t begin = 0; begin < products.n_examples; begin += kExamples) {
      const Range<std::int64_t> examples{begin, std::min(products.n_examples, begin + kExamples)};
      Group<T>(products, group, examples, parallel, totals + group * group_size).add();
    }
  }
}

template void add_products_of_squares(const SquaredProducts<float>&, const Parallel&, double*);
template void add_products_of_squares(const SquaredProducts<double>&, const Parallel&, double*);

}  // namespace wkmeans
