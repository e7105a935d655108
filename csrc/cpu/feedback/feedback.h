#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/base/buffer.h"
#include "cpu/base/interrupt.h"
#include "cpu/base/parallel.h"
#include "cpu/feedback/factor.h"
#include "cpu/feedback/tile_pair.h"

namespace wkmeans {

// Rows whose errors are fed back together, whatever the number of threads: sums over the rows of
// such a chunk, added up in the order of chunks, have the same bits for all of them.
constexpr std::int64_t kFeedbackRows = 48;

inline std::int64_t feedback_chunk_count(std::int64_t n_rows) {
  return (n_rows + kFeedbackRows - 1) / kFeedbackRows;
}

inline Range<std::int64_t> feedback_chunk(std::int64_t n_rows, std::int64_t chunk) {
  return {chunk * kFeedbackRows, std::min(n_rows, (chunk + 1) * kFeedbackRows)};
}

namespace feedback {

constexpr std::int64_t kBlock = FeedbackFactor::kBlock;
constexpr int kPanelRows = Tile<double>::kRows;
// Steps multiplied while the panel of coefficients is in the first cache.
constexpr std::int64_t kDepth = 512;

// What the errors of earlier blocks add to the targets of a block, (rows, kBlock).
template <int Panels>
struct SumOfEarlier {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const double* errors, std::int64_t n_panels,
                                    std::int64_t panel_size, const double* coefficients,
                                    std::int64_t n_steps, double* sums) {
    using Tiles = DoubleTiles<Panels>;
    std::fill(sums, sums + n_panels * kPanelRows * kBlock, 0.0);
    for (std::int64_t from = 0; from < n_steps; from += kDepth) {
      const std::int64_t depth = std::min(kDepth, n_steps - from);
      for (std::int64_t column = 0; column < kBlock; column += Tiles::kColumns) {
        const double* right = coefficients + column * n_steps + from * Tiles::kPanel;
        for (std::int64_t panel = 0; panel < n_panels; ++panel) {
          double tile[Tiles::kSize];
          Tiles::template multiply<Mode>(errors + panel * panel_size + from * kPanelRows, right,
                                         n_steps * Tiles::kPanel, depth, tile);
          for (int row = 0; row < kPanelRows; ++row) {
            double* out = sums + (panel * kPanelRows + row) * kBlock + column;
            for (int c = 0; c < Tiles::kColumns; ++c) out[c] += tile[row * Tiles::kColumns + c];
          }
        }
      }
    }
  }
};

// The steps of one block for one row. `errors` go to a panel of kPanelRows rows.
struct StepThroughBlock {
  template <MultiplyAdd Mode, class Quantiser>
  static WKM_ALWAYS_INLINE void run(Quantiser* quantiser, std::int64_t row, const double* weights,
                                    std::int64_t n, Range<std::int64_t> steps,
                                    const double* coefficients, double* sums, double* errors) {
    for (std::int64_t step = steps.begin; step < steps.end; ++step) {
      const std::int64_t place = step - steps.begin;
      const std::int64_t column = n - 1 - step;
      const double target = weights[column] + sums[place];
      const double error = weights[column] - quantiser->choose(row, column, target);
      errors[place * kPanelRows] = error;
      const double* row_of = coefficients + place * kBlock;
      // From a whole vector on: what lies before the next step has coefficient zero.
      for (std::int64_t q = place & ~std::int64_t{7}; q < kBlock; ++q) {
        if constexpr (Mode == MultiplyAdd::fused) {
          sums[q] = std::fma(error, row_of[q], sums[q]);
        } else {
          sums[q] += error * row_of[q];
        }
      }
    }
  }
};

}  // namespace feedback

// Memory that serves one chunk of rows after another.
struct FeedbackWorkspace {
  Buffer<double> errors;
  Buffer<double> sums;
  Buffer<double> column;
};

// Quantises some rows, column after column, each against what the errors before it have left to be
// done. weights: (rows, n). `quantiser->choose(row, column, target)` returns the value that stands
// for a weight; what it stores beside is its own affair.
template <class Quantiser>
void feed_back(const FeedbackFactor& factor, const double* weights, Range<std::int64_t> rows,
               Quantiser& quantiser, FeedbackWorkspace& workspace) {
  using namespace feedback;
  const std::int64_t n = factor.n();
  const std::int64_t n_panels = panel_count(rows.size(), kPanelRows);
  const std::int64_t panel_size = n * kPanelRows;
  Buffer<double>& errors = workspace.errors;
  Buffer<double>& sums = workspace.sums;
  errors.resize(static_cast<std::size_t>(n_panels * panel_size));
  sums.resize(static_cast<std::size_t>(n_panels * kPanelRows * kBlock));
  if (rows.size() % kPanelRows != 0) {  // rows of the last panel that are not there
    std::fill(errors.end() - panel_size, errors.end(), 0.0);
  }
  for (std::int64_t block = 0; block < factor.n_blocks(); ++block) {
    stop_if_interrupted();
    const Range<std::int64_t> steps{block * kBlock, std::min(n, (block + 1) * kBlock)};
    dispatch_tiles<SumOfEarlier>(static_cast<const double*>(errors.data()), n_panels, panel_size,
                                 factor.before(block), steps.begin, sums.data());
    for (std::int64_t i = 0; i < rows.size(); ++i) {
      const std::int64_t row = rows.begin + i;
      dispatch_fused<StepThroughBlock>(
          &quantiser, row, weights + row * n, n, steps, factor.inside(block),
          sums.data() + i * kBlock,
          errors.data() + i / kPanelRows * panel_size + steps.begin * kPanelRows + i % kPanelRows);
    }
  }
}

}  // namespace wkmeans
