#include "cpu/feedback/labelling.h"

#include <algorithm>

#include "cpu/base/interrupt.h"
#include "cpu/feedback/add_scaled.h"
#include "cpu/feedback/error_products.h"

namespace wkmeans {
namespace {

class CodebookQuantiser {
public:
  CodebookQuantiser(const MatrixRows& rows, const FeedbackFactor& factor, MatrixLabel* labels,
                    double* costs)
      : n_(factor.n()),
        diagonal_(factor.diagonal()),
        codebooks_(rows.codebooks),
        labels_(labels),
        costs_(costs) {}

  WKM_ALWAYS_INLINE double choose(std::int64_t row, std::int64_t column, double target) {
    if (row != row_) {
      nearest_.set(codebooks_.of_row(row), codebooks_.k);
      row_ = row;
    }
    const MatrixLabel label = nearest_.label(target);
    labels_[row * n_ + column] = label;
    const double value = nearest_.centroid(label);
    const double error = diagonal_[n_ - 1 - column] * (target - value);
    costs_[row] += error * error;
    return value;
  }

private:
  std::int64_t n_;
  const double* diagonal_;
  Codebooks codebooks_;
  MatrixLabel* labels_;
  double* costs_;
  NearestCentroid nearest_;
  std::int64_t row_ = -1;
};

// Columns whose labels are decided before what they changed reaches the other columns.
constexpr std::int64_t kColumns = 32;

struct Change {
  std::int64_t column;
  double amount;
};

// products -= sum of changes times their rows of S, four changes at a time.
struct SubtractChanges {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const Change* changes, std::int64_t count, const double* matrix,
                                    std::int64_t n, double* products) {
    const auto less = [](double a, double b, double from) {
      if constexpr (Mode == MultiplyAdd::fused) return std::fma(-a, b, from);
      return from - a * b;
    };
    std::int64_t m = 0;
    for (; m + 4 <= count; m += 4) {
      const double* a = matrix + changes[m].column * n;
      const double* b = matrix + changes[m + 1].column * n;
      const double* c = matrix + changes[m + 2].column * n;
      const double* d = matrix + changes[m + 3].column * n;
      const double of_a = changes[m].amount;
      const double of_b = changes[m + 1].amount;
      const double of_c = changes[m + 2].amount;
      const double of_d = changes[m + 3].amount;
      for (std::int64_t i = 0; i < n; ++i) {
        products[i] =
            less(of_d, d[i], less(of_c, c[i], less(of_b, b[i], less(of_a, a[i], products[i]))));
      }
    }
    for (; m < count; ++m) {
      const double* row = matrix + changes[m].column * n;
      const double amount = changes[m].amount;
      for (std::int64_t i = 0; i < n; ++i) products[i] = less(amount, row[i], products[i]);
    }
  }
};

// One round over some columns of one row of weights. `products` are those of the errors with S.
class RowDescent {
public:
  RowDescent(const double* matrix, std::int64_t n) : matrix_(matrix), n_(n) {}

  bool improve(const NearestCentroid& nearest, Range<std::int64_t> columns, MatrixLabel* labels,
               double* errors, double* products) const {
    Change changes[kColumns];
    std::int64_t count = 0;
    for (std::int64_t i = columns.begin; i < columns.end; ++i) {
      const double weight = matrix_[i * n_ + i];
      if (!(weight > 0.0)) continue;  // its column of S is zero, nothing depends on it
      double product = products[i];
      for (std::int64_t m = 0; m < count; ++m) {
        product -= changes[m].amount * matrix_[changes[m].column * n_ + i];
      }
      const double value = nearest.centroid(labels[i]);
      const MatrixLabel label = nearest.label(value + product / weight);
      if (label == labels[i]) continue;
      const double change = nearest.centroid(label) - value;
      // In real arithmetic the nearest to the target is never the worse; by rounding it may be.
      if (!(change * (change * weight - 2.0 * product) < 0.0)) continue;
      labels[i] = label;
      errors[i] -= change;
      changes[count++] = {i, change};
    }
    if (count == 0) return false;
    dispatch_fused<SubtractChanges>(static_cast<const Change*>(changes), count, matrix_, n_,
                                    products);
    return true;
  }

private:
  const double* matrix_;
  std::int64_t n_;
};

}  // namespace

void label_by_feedback(const MatrixRows& rows, const Parallel& parallel, MatrixLabel* labels,
                       double* costs) {
  std::fill(costs, costs + rows.n_rows, 0.0);
  rows.matrices.for_each_chunk(rows.n_rows, parallel, [&] {
    return [&, workspace = FeedbackWorkspace()](const ImportanceMatrix& matrix,
                                                Range<std::int64_t> range) mutable {
      CodebookQuantiser quantiser(rows, matrix.factor, labels, costs);
      feed_back(matrix.factor, rows.weights, range, quantiser, workspace);
    };
  });
}

void label_costs(const MatrixRows& rows, const MatrixLabel* labels, const Parallel& parallel,
                 double* costs) {
  rows.matrices.for_each_chunk(rows.n_rows, parallel, [&] {
    return [&, products = ErrorProducts()](const ImportanceMatrix& matrix,
                                           Range<std::int64_t> range) mutable {
      products.compute(rows, matrix, range, labels);
      for (std::int64_t i = 0; i < range.size(); ++i) costs[range.begin + i] = products.cost(i);
    };
  });
}

void descend(const MatrixRows& rows, int sweeps, const Parallel& parallel, MatrixLabel* labels,
             double* costs) {
  const std::int64_t n = rows.matrices.n();
  rows.matrices.for_each_chunk(rows.n_rows, parallel, [&] {
    return [&, products = ErrorProducts(), nearest = std::vector<NearestCentroid>()](
               const ImportanceMatrix& matrix, Range<std::int64_t> range) mutable {
      products.compute(rows, matrix, range, labels);
      nearest.resize(static_cast<std::size_t>(range.size()));
      for (std::int64_t i = 0; i < range.size(); ++i) {
        nearest[static_cast<std::size_t>(i)].set(rows.codebooks.of_row(range.begin + i),
                                                 rows.codebooks.k);
      }
      const RowDescent descent(matrix.values, n);
      bool moved = true;
      for (int sweep = 0; sweep < sweeps && moved; ++sweep) {
        moved = false;
        for (std::int64_t j = 0; j < n; j += kColumns) {
          stop_if_interrupted();
          for (std::int64_t i = 0; i < range.size(); ++i) {
            moved |= descent.improve(nearest[static_cast<std::size_t>(i)],
                                     {j, std::min(n, j + kColumns)}, labels + (range.begin + i) * n,
                                     products.errors(i), products.products(i));
          }
        }
      }
      for (std::int64_t i = 0; i < range.size(); ++i) costs[range.begin + i] = products.cost(i);
    };
  });
}

void descend_coupled(const CoupledRows& rows, int sweeps, MatrixLabel* labels, double* products,
                     double* own) {
  const std::int64_t n = rows.n;
  const RowDescent descent(rows.matrix.values, n);
  NearestCentroid nearest;
  nearest.set(rows.codebook, rows.k);
  Buffer<double> gradient(static_cast<std::size_t>(n));
  Buffer<double> change(static_cast<std::size_t>(n));
  Buffer<double> errors(static_cast<std::size_t>(n));  // nobody asks for them
  std::fill(errors.begin(), errors.end(), 0.0);
  bool moved = true;
  for (int sweep = 0; sweep < sweeps && moved; ++sweep) {
    moved = false;
    for (std::int64_t i = 0; i < rows.n_rows; ++i) {
      stop_if_interrupted();
      const double* coupling = rows.coupling + i * rows.n_rows;
      const double* from = products + i * n;
      for (std::int64_t c = 0; c < n; ++c) gradient[c] = from[c] / coupling[i];
      std::copy(gradient.begin(), gradient.end(), change.begin());
      bool row_moved = false;
      for (std::int64_t j = 0; j < n; j += kColumns) {
        row_moved |= descent.improve(nearest, {j, std::min(n, j + kColumns)}, labels + i * n,
                                     errors.data(), gradient.data());
      }
      if (!row_moved) continue;
      moved = true;
      for (std::int64_t c = 0; c < n; ++c) change[c] = gradient[c] - change[c];
      dispatch<AddScaled>(static_cast<const double*>(change.data()), 1.0, n, own + i * n);
      for (std::int64_t other = 0; other < rows.n_rows; ++other) {
        dispatch<AddScaled>(static_cast<const double*>(change.data()), coupling[other], n,
                            products + other * n);
      }
    }
  }
}

}  // namespace wkmeans
