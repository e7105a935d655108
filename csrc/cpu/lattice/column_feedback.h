#pragma once

#include <cstdint>

#include "cpu/feedback/feedback.h"

namespace wkmeans {
namespace feedback {

// What the errors of one step add to the sums (rows, kBlock) of the later steps of its block.
struct AddToLater {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const double* errors, std::int64_t n_rows,
                                    const double* coefficients, std::int64_t place, double* sums) {
    // From a whole vector on: what lies before the next step has coefficient zero.
    const std::int64_t from = place & ~std::int64_t{7};
    for (std::int64_t i = 0; i < n_rows; ++i) {
      double* const row = sums + i * kBlock;
      for (std::int64_t q = from; q < kBlock; ++q) {
        if constexpr (Mode == MultiplyAdd::fused) {
          row[q] = std::fma(errors[i], coefficients[q], row[q]);
        } else {
          row[q] += errors[i] * coefficients[q];
        }
      }
    }
  }
};

}  // namespace feedback

// As `feed_back`, for a quantiser that chooses the values of a whole column of rows together:
// `quantiser->choose(rows, column, weights, added, errors)` is given the column's weights and what
// errors before have added to them, and writes the errors that are fed back.
template <class Quantiser>
void feed_back_by_columns(const FeedbackFactor& factor, const double* weights,
                          Range<std::int64_t> rows, Quantiser& quantiser,
                          FeedbackWorkspace& workspace) {
  using namespace feedback;
  const std::int64_t n = factor.n();
  const std::int64_t n_rows = rows.size();
  const std::int64_t n_panels = panel_count(n_rows, kPanelRows);
  const std::int64_t panel_size = n * kPanelRows;
  Buffer<double>& panels = workspace.errors;
  Buffer<double>& sums = workspace.sums;
  Buffer<double>& column_of = workspace.column;
  panels.resize(static_cast<std::size_t>(n_panels * panel_size));
  sums.resize(static_cast<std::size_t>(n_panels * kPanelRows * kBlock));
  column_of.resize(static_cast<std::size_t>(3 * n_rows));
  double* const own = column_of.data();
  double* const added = own + n_rows;
  double* const errors = added + n_rows;
  if (n_rows % kPanelRows != 0) {  // rows of the last panel that are not there
    std::fill(panels.end() - panel_size, panels.end(), 0.0);
  }
  for (std::int64_t block = 0; block < factor.n_blocks(); ++block) {
    stop_if_interrupted();
    const Range<std::int64_t> steps{block * kBlock, std::min(n, (block + 1) * kBlock)};
    dispatch_tiles<SumOfEarlier>(static_cast<const double*>(panels.data()), n_panels, panel_size,
                                 factor.before(block), steps.begin, sums.data());
    for (std::int64_t step = steps.begin; step < steps.end; ++step) {
      const std::int64_t place = step - steps.begin;
      const std::int64_t column = n - 1 - step;
      for (std::int64_t i = 0; i < n_rows; ++i) {
        own[i] = weights[(rows.begin + i) * n + column];
        added[i] = sums[static_cast<std::size_t>(i * kBlock + place)];
      }
      quantiser.choose(rows, column, own, added, errors);
      for (std::int64_t i = 0; i < n_rows; ++i) {
        panels[static_cast<std::size_t>(i / kPanelRows * panel_size + step * kPanelRows +
                                        i % kPanelRows)] = errors[i];
      }
      dispatch_fused<AddToLater>(static_cast<const double*>(errors), n_rows,
                                 factor.inside(block) + place * kBlock, place, sums.data());
    }
  }
}

}  // namespace wkmeans
