#include "cpu/feedback/importance_matrix.h"

#include <algorithm>

namespace wkmeans {
namespace {

struct PackPanel {
  static WKM_ALWAYS_INLINE void run(const double* matrix, std::int64_t n, std::int64_t column,
                                    double* out) {
    constexpr std::int64_t kPanel = Tile<double>::kColumns;
    const std::int64_t width = std::clamp<std::int64_t>(n - column, 0, kPanel);
    for (std::int64_t p = 0; p < n; ++p, out += kPanel) {
      const double* row = matrix + p * n + column;
      if (width == kPanel) {
        for (std::int64_t c = 0; c < kPanel; ++c) out[c] = row[c];
      } else {
        for (std::int64_t c = 0; c < kPanel; ++c) out[c] = c < width ? row[c] : 0.0;
      }
    }
  }
};

}  // namespace

ImportanceMatrix::ImportanceMatrix(const double* matrix, const double* lower, std::int64_t n,
                                   const Parallel& parallel)
    : values(matrix), factor(lower, n, parallel) {
  const std::int64_t n_columns = (n + kColumns - 1) / kColumns * kColumns;
  panels.resize(static_cast<std::size_t>(n_columns * n));
  parallel.run(n_columns / Tile<double>::kColumns, [&](std::int64_t panel) {
    const std::int64_t column = panel * Tile<double>::kColumns;
    dispatch<PackPanel>(matrix, n, column, panels.data() + column * n);
  });
}

ImportanceMatrices::ImportanceMatrices(const double* values, const double* lower,
                                       std::int64_t count, std::int64_t n, const Parallel& parallel)
    : n_(n) {
  matrices_.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t offset = i * n * n;
    matrices_.emplace_back(values + offset, lower + offset, n, count == 1 ? parallel : Parallel(1));
  }
}

}  // namespace wkmeans
