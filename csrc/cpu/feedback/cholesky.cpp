#include "cpu/feedback/cholesky.h"

#include <algorithm>
#include <cmath>

#include "cpu/base/buffer.h"
#include "cpu/feedback/tile_pair.h"

namespace wkmeans {
namespace {

using DoubleTile = DoubleTiles<1>;

// Columns eliminated together: what is left of the matrix is updated once for all of them.
constexpr std::int64_t kColumns = 128;
// Rows of one task. Of both panel widths a multiple.
constexpr std::int64_t kRows = 96;

// L of the first `width` columns' square block at `corner`.
std::optional<std::int64_t> factorise_corner(double* corner, std::int64_t width,
                                             std::int64_t stride) {
  for (std::int64_t j = 0; j < width; ++j) {
    double* row = corner + j * stride;
    double pivot = row[j];
    for (std::int64_t p = 0; p < j; ++p) pivot -= row[p] * row[p];
    if (!(pivot > 0.0) || !std::isfinite(pivot)) return j;
    row[j] = std::sqrt(pivot);
    for (std::int64_t i = j + 1; i < width; ++i) {
      double* below = corner + i * stride;
      double sum = below[j];
      for (std::int64_t p = 0; p < j; ++p) sum -= below[p] * row[p];
      below[j] = sum / row[j];
    }
  }
  return std::nullopt;
}

// Rows below the corner, of which `transposed` holds the columns: x L' = row, solved for x.
struct SolveRow {
  static WKM_ALWAYS_INLINE void run(double* row, const double* transposed, std::int64_t width) {
    for (std::int64_t j = 0; j < width; ++j) {
      const double* column = transposed + j * width;
      const double value = row[j] / column[j];
      row[j] = value;
      for (std::int64_t i = j + 1; i < width; ++i) row[i] -= value * column[i];
    }
  }
};

template <int Panels>
struct SubtractTiles {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const double* left, const double* right, std::int64_t depth,
                                    std::int64_t n_rows, std::int64_t n_columns, double* target,
                                    std::int64_t stride) {
    using Tiles = DoubleTiles<Panels>;
    for (std::int64_t j = 0; j < n_columns; j += Tiles::kColumns) {
      const std::int64_t width = std::min<std::int64_t>(Tiles::kColumns, n_columns - j);
      for (std::int64_t i = 0; i < n_rows; i += Tiles::kRows) {
        const std::int64_t height = std::min<std::int64_t>(Tiles::kRows, n_rows - i);
        double tile[Tiles::kSize];
        Tiles::template multiply<Mode>(left + i * depth, right + j * depth, depth * Tiles::kPanel,
                                       depth, tile);
        for (std::int64_t r = 0; r < height; ++r) {
          double* out = target + (i + r) * stride + j;
          for (std::int64_t c = 0; c < width; ++c) out[c] -= tile[r * Tiles::kColumns + c];
        }
      }
    }
  }
};

// Panels of `Width` rows, column after column, with zeros for rows that are not there.
template <int Width>
void pack_rows(const double* rows, std::int64_t n_rows, std::int64_t depth, std::int64_t stride,
               double* out) {
  for (std::int64_t i = 0; i < n_rows; i += Width) {
    for (std::int64_t p = 0; p < depth; ++p) {
      for (std::int64_t r = i; r < i + Width; ++r) *out++ = r < n_rows ? rows[r * stride + p] : 0.0;
    }
  }
}

class Elimination {
public:
  Elimination(double* matrix, std::int64_t n, const Parallel& parallel)
      : matrix_(matrix), n_(n), parallel_(parallel) {}

  std::optional<std::int64_t> run() {
    for (std::int64_t begin = 0; begin < n_; begin += kColumns) {
      const std::int64_t width = std::min(kColumns, n_ - begin);
      if (const auto bad = factorise_corner(at(begin, begin), width, n_)) return begin + *bad;
      solve_below(begin, width);
      update_rest(begin, width);
    }
    for (std::int64_t i = 0; i < n_; ++i) std::fill(at(i, i) + 1, at(i, 0) + n_, 0.0);
    return std::nullopt;
  }

private:
  double* at(std::int64_t row, std::int64_t column) const { return matrix_ + row * n_ + column; }

  template <class Task>  // task(begin, end)
  void for_rows_below(std::int64_t first, Task&& task) const {
    parallel_.run((n_ - first + kRows - 1) / kRows, [&](std::int64_t number) {
      const std::int64_t begin = first + number * kRows;
      task(begin, std::min(n_, begin + kRows));
    });
  }

  void solve_below(std::int64_t begin, std::int64_t width) const {
    Buffer<double> transposed(static_cast<std::size_t>(width * width));
    for (std::int64_t j = 0; j < width; ++j) {
      for (std::int64_t i = j; i < width; ++i) {
        transposed[static_cast<std::size_t>(j * width + i)] = *at(begin + i, begin + j);
      }
    }
    const double* columns = transposed.data();
    for_rows_below(begin + width, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) dispatch<SolveRow>(at(i, begin), columns, width);
    });
  }

  // The lower triangle behind the columns done, less the product of their rows.
  void update_rest(std::int64_t begin, std::int64_t width) {
    const std::int64_t first = begin + width;
    const std::int64_t n_rows = n_ - first;
    left_.resize(static_cast<std::size_t>((n_rows + kRows) * width));
    right_.resize(left_.size());
    for_rows_below(first, [&](std::int64_t from, std::int64_t to) {
      const std::int64_t offset = (from - first) * width;
      pack_rows<DoubleTile::kRows>(at(from, begin), to - from, width, n_, left_.data() + offset);
      pack_rows<DoubleTile::kColumns>(at(from, begin), to - from, width, n_,
                                      right_.data() + offset);
    });
    for_rows_below(first, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t column = first; column < to; column += kRows) {
        dispatch_tiles<SubtractTiles>(
            static_cast<const double*>(left_.data() + (from - first) * width),
            static_cast<const double*>(right_.data() + (column - first) * width), width, to - from,
            std::min(kRows, to - column), at(from, column), n_);
      }
    });
  }

  double* matrix_;
  std::int64_t n_;
  const Parallel& parallel_;
  Buffer<double> left_;
  Buffer<double> right_;
};

}  // namespace

std::optional<std::int64_t> cholesky(double* matrix, std::int64_t n, const Parallel& parallel) {
  return Elimination(matrix, n, parallel).run();
}

}  // namespace wkmeans
