#include "cpu/lattice/lattice.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "cpu/lattice/column_feedback.h"
#include "cpu/lattice/row_targets.h"
#include "cpu/lattice/viterbi.h"

namespace wkmeans {
namespace {

constexpr double kLargestInteger = 2147483647.0;

class LatticeQuantiser {
public:
  LatticeQuantiser(const FeedbackFactor& factor, const Lattice& lattice,
                   const LatticeOutput& output)
      : n_(factor.n()), diagonal_(factor.diagonal()), lattice_(lattice), output_(output) {}

  // Sums over the rows that come, (n) each.
  void start(double* products, double* squares) {
    products_ = products;
    squares_ = squares;
  }

  void choose(Range<std::int64_t> rows, std::int64_t column, const double* weights,
              const double* added, double* errors) {
    for (std::int64_t begin = rows.begin; begin < rows.end; begin += lattice_.block) {
      const Range<std::int64_t> block{begin, std::min(rows.end, begin + lattice_.block)};
      const std::int64_t from = begin - rows.begin;
      const TargetColumn targets{weights + from, added + from, lattice_.row_steps + begin,
                                 lattice_.column_steps[column]};
      follow_trellis(targets, block.size());
      store(block, column, targets, errors + from);
    }
  }

  bool fits() const { return fits_; }

private:
  void follow_trellis(const TargetColumn& targets, std::int64_t n_rows) {
    integers_.resize(static_cast<std::size_t>(n_rows));
    if (lattice_.row_coefficients == nullptr) {
      FreeTargets free(targets);
      viterbi_.run(n_rows, free, integers_.data());
    } else {
      by_rows_.resize(static_cast<std::size_t>(n_rows));
      CoupledTargets coupled(targets, lattice_.row_coefficients, n_rows, by_rows_);
      viterbi_.run(n_rows, coupled, integers_.data());
    }
  }

  void store(Range<std::int64_t> rows, std::int64_t column, const TargetColumn& targets,
             double* errors) {
    const double diagonal = diagonal_[n_ - 1 - column];
    for (std::int64_t i = 0; i < rows.size(); ++i) {
      const std::int64_t row = rows.begin + i;
      double integer = integers_[static_cast<std::size_t>(i)];
      if (!(std::fabs(integer) <= kLargestInteger)) {
        fits_ = false;
        integer = 0.0;
      }
      const double step = targets.step(i);
      const double value = step * integer;
      const double own = targets.weights[i] + added_by_rows(i, targets.weights[i] - value);
      const double target = own + targets.added[i];
      output_.integers[row * n_ + column] = static_cast<std::int32_t>(integer);
      products_[column] += target / step * integer;
      squares_[column] += integer * integer;
      errors[i] = own - value;
      const double error = diagonal * (target - value);
      output_.costs[row] += error * error;
    }
  }

  // What the final errors of the rows before add to a row's target; then come its own.
  double added_by_rows(std::int64_t row, double error) {
    if (lattice_.row_coefficients == nullptr) return 0.0;
    const double* const by =
        lattice_.row_coefficients + row * static_cast<std::int64_t>(by_rows_.size());
    double sum = 0.0;
    for (std::int64_t i = 0; i < row; ++i) sum += by[i] * by_rows_[static_cast<std::size_t>(i)];
    by_rows_[static_cast<std::size_t>(row)] = error;
    return sum;
  }

  std::int64_t n_;
  const double* diagonal_;
  const Lattice& lattice_;
  const LatticeOutput& output_;
  double* products_ = nullptr;
  double* squares_ = nullptr;
  bool fits_ = true;
  Viterbi viterbi_;
  Buffer<double> integers_;
  Buffer<double> by_rows_;  // errors of rows before, where they matter together
};

}  // namespace

bool feed_back_on_lattice(const FeedbackFactor& factor, const double* weights, std::int64_t n_rows,
                          const Lattice& lattice, const Parallel& parallel,
                          const LatticeOutput& output) {
  const std::int64_t n = factor.n();
  // Whole blocks, whatever the number of threads: sums over the rows of each chunk, added up in the
  // order of chunks, have the same bits for all of them.
  const std::int64_t size = lattice.block * ((kFeedbackRows + lattice.block - 1) / lattice.block);
  const std::int64_t n_chunks = (n_rows + size - 1) / size;
  std::vector<double> products(static_cast<std::size_t>(n_chunks * n), 0.0);
  std::vector<double> squares(products.size(), 0.0);
  std::fill(output.costs, output.costs + n_rows, 0.0);
  std::atomic<bool> all_fit{true};
  parallel.run_with_workers(n_chunks, [&] {
    return [&, workspace = FeedbackWorkspace(),
            quantiser = LatticeQuantiser(factor, lattice, output)](std::int64_t chunk) mutable {
      quantiser.start(products.data() + chunk * n, squares.data() + chunk * n);
      const Range<std::int64_t> rows{chunk * size, std::min(n_rows, (chunk + 1) * size)};
      feed_back_by_columns(factor, weights, rows, quantiser, workspace);
      if (!quantiser.fits()) all_fit = false;
    };
  });
  for (std::int64_t i = 0; i < n; ++i) {
    output.products[i] = output.squares[i] = 0.0;
    for (std::int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      output.products[i] += products[static_cast<std::size_t>(chunk * n + i)];
      output.squares[i] += squares[static_cast<std::size_t>(chunk * n + i)];
    }
  }
  return all_fit;
}

}  // namespace wkmeans
