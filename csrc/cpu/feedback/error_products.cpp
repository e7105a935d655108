#include "cpu/feedback/error_products.h"

#include <algorithm>

#include "cpu/base/interrupt.h"

namespace wkmeans {
namespace {

using DoubleTile = DoubleTiles<1>;

constexpr std::int64_t kDepth = 512;  // positions whose panels stay in the first caches
constexpr std::int64_t kColumns = ImportanceMatrix::kColumns;

// sums (rows, kColumns), of whole panels.
template <int Panels>
struct AddTiles {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const double* left, std::int64_t n_panels,
                                    std::int64_t panel_size, const double* right,
                                    std::int64_t right_panel_size, std::int64_t depth,
                                    double* sums) {
    using Tiles = DoubleTiles<Panels>;
    for (std::int64_t j = 0; j < kColumns; j += Tiles::kColumns) {
      for (std::int64_t panel = 0; panel < n_panels; ++panel) {
        double tile[Tiles::kSize];
        Tiles::template multiply<Mode>(left + panel * panel_size,
                                       right + j / Tiles::kPanel * right_panel_size,
                                       right_panel_size, depth, tile);
        for (int row = 0; row < Tiles::kRows; ++row) {
          double* out = sums + (panel * Tiles::kRows + row) * kColumns + j;
          for (int c = 0; c < Tiles::kColumns; ++c) out[c] += tile[row * Tiles::kColumns + c];
        }
      }
    }
  }
};

struct Dot {
  static WKM_ALWAYS_INLINE double run(const double* a, const double* b, std::int64_t n) {
    double lanes[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (int lane = 0; lane < 8; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
    }
    for (; i < n; ++i) lanes[i % 8] += a[i] * b[i];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  }
};

// Panels of whole rows, column after column.
struct PackRows {
  static WKM_ALWAYS_INLINE void run(const double* rows, std::int64_t n, std::int64_t n_rows,
                                    double* out) {
    for (std::int64_t i = 0; i < n_rows; i += DoubleTile::kRows) {
      for (std::int64_t p = 0; p < n; ++p) {
        WKM_UNROLL(8)
        for (std::int64_t r = 0; r < DoubleTile::kRows; ++r) *out++ = rows[(i + r) * n + p];
      }
    }
  }
};

std::int64_t in_whole_panels(std::int64_t n_rows) {
  return panel_count(n_rows, DoubleTile::kRows) * DoubleTile::kRows;
}

}  // namespace

double ErrorProducts::cost(std::int64_t i) const {
  return dispatch<Dot>(errors_.data() + i * n_, products_.data() + i * n_, n_);
}

void ErrorProducts::compute(const MatrixRows& rows, const ImportanceMatrix& matrix,
                            Range<std::int64_t> range, const MatrixLabel* labels) {
  const std::int64_t n = n_ = rows.matrices.n();
  const std::int64_t n_rows = in_whole_panels(range.size());
  errors_.resize(static_cast<std::size_t>(n_rows * n));
  products_.resize(errors_.size());
  packed_.resize(errors_.size());
  sums_.resize(static_cast<std::size_t>(n_rows * kColumns));
  for (std::int64_t row = range.begin; row < range.end; ++row) {
    const double* codebook = rows.codebooks.of_row(row);
    double* target = errors(row - range.begin);
    for (std::int64_t i = 0; i < n; ++i) {
      target[i] = rows.weights[row * n + i] - codebook[labels[row * n + i]];
    }
  }
  std::fill(errors(range.size()), errors(n_rows), 0.0);  // rows that are not there
  dispatch<PackRows>(static_cast<const double*>(errors_.data()), n, n_rows, packed_.data());
  for (std::int64_t j = 0; j < n; j += kColumns) {
    stop_if_interrupted();
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for (std::int64_t p = 0; p < n; p += kDepth) {
      dispatch_tiles<AddTiles>(static_cast<const double*>(packed_.data()) + p * DoubleTile::kRows,
                               n_rows / DoubleTile::kRows, n * DoubleTile::kRows,
                               matrix.panels.data() + j * n + p * DoubleTile::kPanel,
                               n * DoubleTile::kPanel, std::min(kDepth, n - p), sums_.data());
    }
    for (std::int64_t i = 0; i < range.size(); ++i) {
      std::copy_n(sums_.data() + i * kColumns, std::min(kColumns, n - j), products(i) + j);
    }
  }
}

}  // namespace wkmeans
