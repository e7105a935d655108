#include "cpu/feedback/lattice.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "cpu/feedback/feedback.h"

namespace wkmeans {
namespace {

constexpr double kLargestInteger = 2147483647.0;

// Nearest, ties to even, in arithmetic that every instruction set has: the sum's last bit is worth
// one. Beyond 2^31, which is refused later on, whatever comes.
WKM_ALWAYS_INLINE double nearest_integer(double value) {
  constexpr double kOnes = 0x1.8p52;
  return (value + kOnes) - kOnes;
}

class LatticeQuantiser {
public:
  LatticeQuantiser(const FeedbackFactor& factor, const Lattice& lattice,
                   const LatticeOutput& output, double* products, double* squares)
      : n_(factor.n()),
        diagonal_(factor.diagonal()),
        lattice_(lattice),
        output_(output),
        products_(products),
        squares_(squares) {}

  WKM_ALWAYS_INLINE double choose(std::int64_t row, std::int64_t column, double target) {
    const double step = lattice_.row_steps[row] * lattice_.column_steps[column];
    const double unit = target / step;
    double integer = nearest_integer(unit);
    if (!(std::fabs(integer) <= kLargestInteger)) {
      fits_ = false;
      integer = 0.0;
    }
    output_.integers[row * n_ + column] = static_cast<std::int32_t>(integer);
    products_[column] += unit * integer;
    squares_[column] += integer * integer;
    const double value = step * integer;
    const double error = diagonal_[n_ - 1 - column] * (target - value);
    output_.costs[row] += error * error;
    return value;
  }

  bool fits() const { return fits_; }

private:
  std::int64_t n_;
  const double* diagonal_;
  const Lattice& lattice_;
  const LatticeOutput& output_;
  double* products_;
  double* squares_;
  bool fits_ = true;
};

}  // namespace

bool feed_back_on_lattice(const FeedbackFactor& factor, const double* weights, std::int64_t n_rows,
                          const Lattice& lattice, const Parallel& parallel,
                          const LatticeOutput& output) {
  const std::int64_t n = factor.n();
  const std::int64_t n_chunks = feedback_chunk_count(n_rows);
  std::vector<double> products(static_cast<std::size_t>(n_chunks * n), 0.0);
  std::vector<double> squares(products.size(), 0.0);
  std::fill(output.costs, output.costs + n_rows, 0.0);
  std::atomic<bool> all_fit{true};
  parallel.run_with_workers(n_chunks, [&] {
    return [&, workspace = FeedbackWorkspace()](std::int64_t chunk) mutable {
      LatticeQuantiser quantiser(factor, lattice, output, products.data() + chunk * n,
                                 squares.data() + chunk * n);
      feed_back(factor, weights, feedback_chunk(n_rows, chunk), quantiser, workspace);
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
