#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/feedback/feedback.h"

namespace wkmeans {

// S, symmetric (n, n), row-major, and the factor of S with something added to its diagonal.
struct ImportanceMatrix {
  // Columns whose products are summed together.
  static constexpr std::int64_t kColumns = 64;

  ImportanceMatrix(const double* matrix, const double* lower, std::int64_t n,
                   const Parallel& parallel);

  const double* values;
  // S once more for matrix products: panels of eight columns, row after row, with zeros up to a
  // multiple of kColumns.
  Buffer<double> panels;
  FeedbackFactor factor;
};

// One matrix for all rows of weights, or one for each.
class ImportanceMatrices {
public:
  // values: (count, n, n); lower: their factors.
  ImportanceMatrices(const double* values, const double* lower, std::int64_t count, std::int64_t n,
                     const Parallel& parallel);

  std::int64_t n() const { return n_; }
  std::int64_t count() const { return static_cast<std::int64_t>(matrices_.size()); }

  // Rows are worked on in chunks, each with one matrix.
  std::int64_t chunk_count(std::int64_t n_rows) const {
    return count() == 1 ? feedback_chunk_count(n_rows) : n_rows;
  }
  Range<std::int64_t> chunk_rows(std::int64_t n_rows, std::int64_t chunk) const {
    return count() == 1 ? feedback_chunk(n_rows, chunk) : Range<std::int64_t>{chunk, chunk + 1};
  }
  const ImportanceMatrix& of_chunk(std::int64_t chunk) const {
    return matrices_[count() == 1 ? 0 : static_cast<std::size_t>(chunk)];
  }

  // Calls make_worker() once a thread, and worker(matrix, rows) for each chunk of rows.
  template <class MakeWorker>
  void for_each_chunk(std::int64_t n_rows, const Parallel& parallel,
                      MakeWorker&& make_worker) const {
    parallel.run_with_workers(chunk_count(n_rows), [&] {
      return [&, worker = make_worker()](std::int64_t chunk) mutable {
        worker(of_chunk(chunk), chunk_rows(n_rows, chunk));
      };
    });
  }

private:
  std::int64_t n_;
  std::vector<ImportanceMatrix> matrices_;
};

}  // namespace wkmeans
