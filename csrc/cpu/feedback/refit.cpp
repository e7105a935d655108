#include "cpu/feedback/refit.h"

#include <algorithm>
#include <cstring>

#include "cpu/base/interrupt.h"
#include "cpu/feedback/add_scaled.h"
#include "cpu/feedback/error_products.h"
#include "cpu/feedback/normal_equations.h"

namespace wkmeans {
namespace {

// Columns of S whose rows are summed by label at once, in registers.
constexpr std::int64_t kWidth = 64;

// The columns of a row by label: those of label j are members[starts[j]] to members[starts[j + 1]],
// ascending.
struct Members {
  void sort(const MatrixLabel* labels, std::int64_t n, std::int64_t k) {
    starts.assign(static_cast<std::size_t>(k + 1), 0);
    members.resize(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) ++starts[static_cast<std::size_t>(labels[i]) + 1];
    for (std::size_t j = 1; j < starts.size(); ++j) starts[j] += starts[j - 1];
    next.assign(starts.begin(), starts.end() - 1);
    for (std::int64_t i = 0; i < n; ++i) {
      members[static_cast<std::size_t>(next[labels[i]]++)] = static_cast<std::int32_t>(i);
    }
    next.assign(starts.begin(), starts.end() - 1);
  }

  std::vector<std::int32_t> starts;
  std::vector<std::int32_t> members;
  std::vector<std::int32_t> next;  // of each label, the first that has not been passed by
};

// Some columns of S from the diagonal on down, half of the diagonal itself: with T the whole of
// such a triangle, P'SP = P'TP + (P'TP)'.
struct PackTriangle {
  static WKM_ALWAYS_INLINE void run(const double* matrix, std::int64_t n,
                                    Range<std::int64_t> columns, double* out) {
    for (std::int64_t i = columns.begin; i < n; ++i, out += kWidth) {
      const double* row = matrix + i * n + columns.begin;
      const std::int64_t width = std::min(columns.size(), i - columns.begin + 1);
      for (std::int64_t c = 0; c < width; ++c) out[c] = row[c];
      for (std::int64_t c = width; c < kWidth; ++c) out[c] = 0.0;
      if (i < columns.end) out[i - columns.begin] *= 0.5;
    }
  }
};

#if defined(__GNUC__) || defined(__clang__)
typedef double SumVector __attribute__((vector_size(8 * sizeof(double))));
#else
using SumVector = double;
#endif
constexpr std::int64_t kVector = sizeof(SumVector) / sizeof(double);
constexpr std::int64_t kVectors = kWidth / kVector;

// The sums of the rows of the packed triangle by label, (kWidth, k).
struct SumMembers {
  static WKM_ALWAYS_INLINE void run(const double* triangle, std::int64_t begin, std::int64_t k,
                                    Members* row, double* sums) {
    for (std::int64_t j = 0; j < k; ++j) {
      std::int32_t at = row->next[static_cast<std::size_t>(j)];
      const std::int32_t end = row->starts[static_cast<std::size_t>(j) + 1];
      const std::int32_t* members = row->members.data();
      while (at < end && members[at] < begin) ++at;
      row->next[static_cast<std::size_t>(j)] = at;
      // Spelt out in vectors, so that the sums stay in registers.
      SumVector sum[kVectors] = {};
      for (; at < end; ++at) {
        const double* from = triangle + (members[at] - begin) * kWidth;
        WKM_UNROLL(64)
        for (std::int64_t v = 0; v < kVectors; ++v) {
          SumVector values;
          std::memcpy(&values, from + v * kVector, sizeof values);
          sum[v] += values;
        }
      }
      for (std::int64_t v = 0; v < kVectors; ++v) {
        double lanes[kVector];
        std::memcpy(lanes, &sum[v], sizeof lanes);
        for (std::int64_t c = 0; c < kVector; ++c) sums[(v * kVector + c) * k + j] = lanes[c];
      }
    }
  }
};

// Adds the transpose of importance * P'TP for some columns of the triangle T.
void add_triangle(Members& members, const MatrixLabel* labels, const double* triangle,
                  Range<std::int64_t> columns, std::int64_t k, double importance, double* spare,
                  double* left) {
  dispatch<SumMembers>(triangle, columns.begin, k, &members, spare);
  for (std::int64_t c = 0; c < columns.size(); ++c) {
    dispatch<AddScaled>(static_cast<const double*>(spare + c * k), importance, k,
                        left + labels[columns.begin + c] * k);
  }
}

void add_transpose(NormalEquations& equations) {
  const std::int64_t k = equations.k;
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double& below = equations.left[static_cast<std::size_t>(i * k + j)];
      double& above = equations.left[static_cast<std::size_t>(j * k + i)];
      below = above = below + above;
    }
  }
}

// Collects the normal equations of rows, and keeps its memory from chunk to chunk.
class Collector {
public:
  Collector(const MatrixRows& rows, const MatrixLabel* labels, const double* importances)
      : rows_(rows), labels_(labels), importances_(importances) {}

  // Adds those of each row to equations of its own, or those of all rows to one.
  void add(const ImportanceMatrix& matrix, Range<std::int64_t> range,
           std::vector<NormalEquations>& equations) {
    const std::int64_t n = rows_.matrices.n();
    const std::int64_t k = rows_.codebooks.k;
    const auto importance = [&](std::int64_t i) {
      return importances_ ? importances_[range.begin + i] : 1.0;
    };
    const auto of_row = [&](std::int64_t i) -> NormalEquations& {
      return equations[rows_.codebooks.is_shared ? 0 : static_cast<std::size_t>(i)];
    };
    products_.compute(rows_, matrix, range, labels_);
    members_.resize(static_cast<std::size_t>(range.size()));
    for (std::int64_t i = 0; i < range.size(); ++i) {
      const MatrixLabel* own = labels_ + (range.begin + i) * n;
      members_[static_cast<std::size_t>(i)].sort(own, n, k);
      const double* gradient = products_.products(i);
      for (std::int64_t c = 0; c < n; ++c) of_row(i).right[own[c]] += importance(i) * gradient[c];
    }
    triangle_.resize(static_cast<std::size_t>(n * kWidth));
    sums_.resize(static_cast<std::size_t>(kWidth * k));
    for (std::int64_t begin = 0; begin < n; begin += kWidth) {
      stop_if_interrupted();
      const Range<std::int64_t> columns{begin, std::min(n, begin + kWidth)};
      dispatch<PackTriangle>(matrix.values, n, columns, triangle_.data());
      for (std::int64_t i = 0; i < range.size(); ++i) {
        add_triangle(members_[static_cast<std::size_t>(i)], labels_ + (range.begin + i) * n,
                     triangle_.data(), columns, k, importance(i), sums_.data(),
                     of_row(i).left.data());
      }
    }
  }

private:
  const MatrixRows& rows_;
  const MatrixLabel* labels_;
  const double* importances_;
  ErrorProducts products_;
  std::vector<Members> members_;
  Buffer<double> triangle_;
  Buffer<double> sums_;
};

void add_solution(NormalEquations& equations, const double* codebook, bool zero_stays,
                  double* refitted) {
  add_transpose(equations);
  std::vector<bool> held(static_cast<std::size_t>(equations.k), false);
  for (std::int64_t j = 0; j < equations.k; ++j) {
    held[static_cast<std::size_t>(j)] = zero_stays && codebook[j] == 0.0;
  }
  const std::vector<double> changes = equations.solve(held);
  for (std::int64_t j = 0; j < equations.k; ++j) {
    refitted[j] = codebook[j] + changes[static_cast<std::size_t>(j)];
  }
}

void refit_rows(const MatrixRows& rows, const MatrixLabel* labels, bool zero_stays,
                const Parallel& parallel, double* refitted) {
  const std::int64_t k = rows.codebooks.k;
  rows.matrices.for_each_chunk(rows.n_rows, parallel, [&] {
    return [&, collector = Collector(rows, labels, nullptr)](const ImportanceMatrix& matrix,
                                                             Range<std::int64_t> range) mutable {
      std::vector<NormalEquations> equations(static_cast<std::size_t>(range.size()),
                                             NormalEquations(k));
      collector.add(matrix, range, equations);
      for (std::int64_t i = 0; i < range.size(); ++i) {
        const std::int64_t row = range.begin + i;
        add_solution(equations[static_cast<std::size_t>(i)], rows.codebooks.of_row(row), zero_stays,
                     refitted + row * k);
      }
    };
  });
}

}  // namespace

void refit(const MatrixRows& rows, const MatrixLabel* labels, const double* importances,
           bool zero_stays, const Parallel& parallel, double* refitted) {
  if (!rows.codebooks.is_shared) {
    refit_rows(rows, labels, zero_stays, parallel, refitted);
    return;
  }
  // Chunks are added in their order, some at a time, so that memory does not grow with the rows.
  constexpr std::int64_t kAtOnce = 16;
  const std::int64_t k = rows.codebooks.k;
  const std::int64_t n_chunks = rows.matrices.chunk_count(rows.n_rows);
  NormalEquations all(k);
  for (std::int64_t from = 0; from < n_chunks; from += kAtOnce) {
    const std::int64_t count = std::min(kAtOnce, n_chunks - from);
    std::vector<std::vector<NormalEquations>> parts(static_cast<std::size_t>(count));
    parallel.run_with_workers(count, [&] {
      return [&, collector = Collector(rows, labels, importances)](std::int64_t part) mutable {
        auto& equations = parts[static_cast<std::size_t>(part)];
        equations.assign(1, NormalEquations(k));
        collector.add(rows.matrices.of_chunk(from + part),
                      rows.matrices.chunk_rows(rows.n_rows, from + part), equations);
      };
    });
    for (const auto& equations : parts) all.add(equations.front());
  }
  add_solution(all, rows.codebooks.values, zero_stays, refitted);
}

}  // namespace wkmeans
