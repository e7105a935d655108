#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/base/items.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/read/histogram.h"
#include "cpu/read/points.h"
#include "cpu/read/reading.h"
#include "cpu/sort/partitions.h"
#include "cpu/sort/sort_stretch.h"

namespace wkmeans {

// What becomes of equal weights: one point; or, where there are so many points that they are kept
// as floats, as many as it takes floats to add up to their importance, two as a rule.
enum class Ties { merged, split };

// Reads, checks, sorts or counts, and merges one problem after another, reusing its memory between
// them.
class PointCollector {
public:
  // Reading: counted, else sorted.
  const Points& collect(const Problems& problems, std::int64_t problem, Reading reading, Zero zero,
                        const Parallel& parallel, Ties ties = Ties::merged);

  // Only some weights of a problem that has been checked: of the `count` from `begin` on those
  // whose numbers, counted from there, `select(begin, count, chosen)` writes; it returns how many.
  template <class Select>
  const Points& collect_some(const Problems& problems, std::int64_t problem, Select&& select,
                             const Parallel& parallel);

  // Whether the problem last collected carries no importance at all, so that each weight counts 1.
  bool unit_importance() const { return unit_importance_; }

private:
  // Value: float or double, as which weights are compared; Stored: the same, as which points are
  // kept.
  template <class Value, class Stored>
  struct Scratch {
    SortScratch<Value> sort;
    Buffer<Stored> importance, quartic_importance;
  };

  template <class Value, class Stored>
  bool scatter(const Problems& problems, std::int64_t problem, const Parallel& parallel);
  template <class Real, class Value, class Stored>
  bool scatter_segment(const Problems& problems, std::int64_t problem, std::int64_t segment);
  template <class Stored>
  ItemColumns<Stored> columns();
  template <class Value, class Stored>
  SortedStretch sort_partition(std::size_t partition, Scratch<Value, Stored>& scratch);
  template <class Value, class Stored>
  void sort(const Parallel& parallel);
  template <class Stored>
  void join(const std::vector<SortedStretch>& stretches);
  template <class Value, class Real>
  void collect_chunk(const Problems& problems, std::int64_t problem, ItemReader<Real>& reader);
  void collect_sorted(const Problems& problems, std::int64_t problem, Zero zero,
                      const Parallel& parallel, Ties ties);
  template <class Value, class Stored>
  void collect_as(const Problems& problems, std::int64_t problem, const Parallel& parallel);
  const Points& collect_kept(const KeptItems& kept, DType dtype, const Parallel& parallel);

  Points points_;
  Partitions partitions_;
  Histogram histogram_;
  ItemReader<float> floats_;
  ItemReader<double> doubles_;
  bool unit_importance_ = false;
  std::tuple<Scratch<float, float>, Scratch<float, double>, Scratch<double, double>> scratch_;
};

template <class Select>
const Points& PointCollector::collect_some(const Problems& problems, std::int64_t problem,
                                           Select&& select, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  std::vector<KeptItems> kept(static_cast<std::size_t>(chunk_count(n)));
  for_each_chunk(parallel, n, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    std::uint32_t chosen[kItemBlock];
    for (; begin < end; begin += kItemBlock) {
      const std::int64_t n_chosen =
          select(begin, kItemBlock < end - begin ? kItemBlock : end - begin, chosen);
      append_chosen(problems, problem, begin, chosen, n_chosen,
                    kept[static_cast<std::size_t>(chunk)]);
    }
  });
  KeptItems all;
  for (const KeptItems& found : kept) append(found, all);
  return collect_kept(all, problems.weights->dtype(), parallel);
}

}  // namespace wkmeans
