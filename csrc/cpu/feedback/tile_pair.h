#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/base/isa.h"
#include "cpu/products/product_tile.h"

namespace wkmeans {

// Products of doubles, as `Tile` has them, of panels of rows with a panel of columns or with two
// neighbouring ones. Where there are 32 registers, two at once keep the multipliers busy; the sums
// are the same bit for bit.
template <int Panels>
struct DoubleTiles {
  static constexpr int kRows = Tile<double>::kRows;
  static constexpr int kPanel = Tile<double>::kColumns;
  static constexpr int kColumns = Panels * kPanel;
  static constexpr int kSize = kRows * kColumns;

  // `panel_size`: from one panel of columns to the next. The tile is row-major.
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void multiply(const double* left, const double* right,
                                         std::int64_t panel_size, std::int64_t depth,
                                         double* tile) {
    double sum[kRows][Panels][kPanel] = {};
    for (std::int64_t position = 0; position < depth; ++position) {
      WKM_UNROLL(8)
      for (int row = 0; row < kRows; ++row) {
        const double factor = left[row];
        WKM_UNROLL(2)
        for (int panel = 0; panel < Panels; ++panel) {
          const double* from = right + panel * panel_size;
          WKM_UNROLL(1)
          for (int column = 0; column < kPanel; ++column) {
            double& target = sum[row][panel][column];
            if constexpr (Mode == MultiplyAdd::fused) {
              target = std::fma(factor, from[column], target);
            } else {
              target += factor * from[column];
            }
          }
        }
      }
      left += kRows;
      right += kPanel;
    }
    for (int row = 0; row < kRows; ++row) {
      for (int panel = 0; panel < Panels; ++panel) {
        for (int column = 0; column < kPanel; ++column) {
          tile[row * kColumns + panel * kPanel + column] = sum[row][panel][column];
        }
      }
    }
  }
};

// Runs `Kernel<Panels>::run<MultiplyAdd>(args...)` with as many panels as registers hold.
template <template <int> class Kernel, class... Args>
void dispatch_tiles(Args... args) {
#if WKM_X86_DISPATCH
  if (active_isa() == Isa::avx512) {
    dispatch_fused<Kernel<2>>(args...);
    return;
  }
#endif
  dispatch_fused<Kernel<1>>(args...);
}

}  // namespace wkmeans
