#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "math/compensated_sum.h"

namespace wkmeans {

struct Points;

// Half-precision weights have at most 65536 values, whatever their number: one pass sums the
// importances of each value, and one look-up a weight labels them.

// Reads, checks and sums one problem after another, reusing its memory between them.
class Histogram {
public:
  // Makes the points of a problem; each weight counts 1 where none carries importance.
  void collect(const Problems& problems, std::int64_t problem, const Parallel& parallel,
               Points& points);

  bool unit_importance() const { return unit_importance_; }

private:
  enum class Importances { given, unit };

  // The items of one stretch of a problem, summed by the bits of their weights. Columns that a
  // problem does not need are empty.
  struct Part {
    Buffer<std::uint32_t> counts;
    Buffer<CompensatedSum> importance, quartic_importance;
  };

  void sum(const Problems& problems, std::int64_t problem, Importances importances,
           const Parallel& parallel);
  void merge_parts(const Parallel& parallel);
  void make_points(DType dtype, Points& points) const;

  std::vector<Part> parts_;
  bool unit_importance_ = false;
};

// The points of so many weights of each value, by its bits.
Points counted_points(DType dtype, const std::vector<std::uint64_t>& counts);

}  // namespace wkmeans
