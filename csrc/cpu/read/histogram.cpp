#include "cpu/read/histogram.h"

#include <algorithm>

#include "cpu/base/isa.h"
#include "cpu/base/items.h"
#include "cpu/read/half_bits.h"
#include "cpu/read/points.h"

namespace wkmeans {
namespace {

// Neighbours are counted in columns of their own: where they are equal, as zeros of pruned weights
// are, each would otherwise wait for the one before. Columns a multiple of 4 KiB apart would, too.
constexpr std::size_t kColumns = 4;
constexpr std::size_t kColumn = kHalves + 16;

// A problem is cut into parts by its size alone: how many threads share them shows in no sum.
constexpr std::int64_t kFewestItemsOfAPart = std::int64_t{1} << 21;
constexpr std::int64_t kMostParts = 16;

std::int64_t part_count(std::int64_t n_items) {
  return std::clamp(n_items / kFewestItemsOfAPart, std::int64_t{1}, kMostParts);
}

// Appends the value of these bits, which follow those of the last point in order.
void append_value(DType dtype, std::uint16_t bits, double importance, double quartic_importance,
                  bool quartic, Points& points) {
  if (!(importance > 0.0) && !(quartic_importance > 0.0)) return;
  const double weight = value_of_half(dtype, bits) + 0.0;
  if (points.size() > 0 && points.weight.back() == weight) {  // both zeros are one weight
    points.importance.as<double>().back() += importance;
    if (quartic) points.quartic_importance.as<double>().back() += quartic_importance;
    return;
  }
  points.weight.push_back(weight);
  points.importance.push_back(importance);
  if (quartic) points.quartic_importance.push_back(quartic_importance);
}

struct AllFinite {
  static WKM_ALWAYS_INLINE bool run(const std::uint16_t* bits, std::int64_t count,
                                    std::uint16_t infinity) {
    std::uint16_t largest = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto magnitude = static_cast<std::uint16_t>(bits[i] & kMagnitude);
      largest = largest < magnitude ? magnitude : largest;
    }
    return largest < infinity;
  }
};

void add_all(const std::uint16_t* bits, std::int64_t count, const double* terms,
             Buffer<CompensatedSum>& sums) {
  for (std::int64_t i = 0; i < count; ++i) sums[bits[i]].add(terms[i]);
}

void count_all(const std::uint16_t* bits, std::int64_t count, std::uint32_t* counts) {
  constexpr auto kStep = static_cast<std::int64_t>(kColumns);
  std::int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (std::size_t column = 0; column < kColumns; ++column) {
      ++counts[column * kColumn + bits[i + static_cast<std::int64_t>(column)]];
    }
  }
  for (; i < count; ++i) ++counts[bits[i]];
}

bool counts_finite_only(const Buffer<std::uint32_t>& counts, std::uint16_t infinity) {
  for (std::size_t column = 0; column < counts.size(); column += kColumn) {
    for (std::size_t bits = infinity; bits <= kMagnitude; ++bits) {
      if (counts[column + bits] != 0 || counts[column + bits + kMagnitude + 1] != 0) return false;
    }
  }
  return true;
}

}  // namespace

void Histogram::collect(const Problems& problems, std::int64_t problem, const Parallel& parallel,
                        Points& points) {
  const DType dtype = problems.weights->dtype();
  sum(problems, problem, Importances::given, parallel);
  make_points(dtype, points);
  unit_importance_ = points.size() == 0;
  if (unit_importance_) {
    sum(problems, problem, Importances::unit, parallel);
    make_points(dtype, points);
    points.quartic_importance.assign(problems.quartic() ? points.size() : 0, 0.0);
  }
}

void Histogram::sum(const Problems& problems, std::int64_t problem, Importances importances,
                    const Parallel& parallel) {
  const bool given = importances == Importances::given;
  const bool counts = !given || !problems.importance;
  const bool sums = given && problems.importance;
  const bool quartic_sums = given && problems.quartic();
  const std::int64_t n = problems.weights->n_items();
  const std::uint16_t infinity = infinity_of(problems.weights->dtype());
  const std::int64_t n_parts = part_count(n);
  parts_.resize(static_cast<std::size_t>(n_parts));
  parallel.run(n_parts, [&](std::int64_t number) {
    Part& part = parts_[static_cast<std::size_t>(number)];
    part.counts.assign(counts ? kColumns * kColumn : 0, 0);
    part.importance.assign(sums ? kHalves : 0, {});
    part.quartic_importance.assign(quartic_sums ? kHalves : 0, {});
    std::uint16_t spare[kHalvesAtOnce];
    ItemReader<double> reader;
    const std::int64_t end = n * (number + 1) / n_parts;
    for (std::int64_t begin = n * number / n_parts; begin < end; begin += kHalvesAtOnce) {
      const std::int64_t count = std::min(kHalvesAtOnce, end - begin);
      const std::uint16_t* bits = problems.weights->bits(problem, begin, count, spare);
      if (counts) count_all(bits, count, part.counts.data());
      if (!sums && !quartic_sums) continue;
      // Counts tell afterwards, at no cost; sums are blind to weights of no importance.
      if (!counts && !dispatch<AllFinite>(bits, count, infinity))
        throw InvalidValue(problems.weights->name());
      const ItemRun<double> items = reader.read_importances(problems, problem, begin, count);
      check_items(problems, items);
      if (sums) add_all(bits, count, items.importance, part.importance);
      if (quartic_sums) add_all(bits, count, items.quartic_importance, part.quartic_importance);
    }
    if (!counts_finite_only(part.counts, infinity)) throw InvalidValue(problems.weights->name());
  });
  merge_parts(parallel);
}

// Into the first column of the first, in order.
void Histogram::merge_parts(const Parallel& parallel) {
  constexpr std::size_t kHalvesOfATask = 4096;
  Part& all = parts_.front();
  parallel.run(kHalves / kHalvesOfATask, [&](std::int64_t task) {
    const std::size_t first = static_cast<std::size_t>(task) * kHalvesOfATask;
    const std::size_t last = first + kHalvesOfATask;
    for (const Part& part : parts_) {
      for (std::size_t column = 0; column < part.counts.size(); column += kColumn) {
        if (&part == &all && column == 0) continue;
        for (std::size_t v = first; v < last; ++v) all.counts[v] += part.counts[column + v];
      }
      if (&part == &all) continue;
      for (std::size_t v = first; v < last; ++v) {
        if (!all.importance.empty()) all.importance[v].add(part.importance[v]);
        if (!all.quartic_importance.empty()) {
          all.quartic_importance[v].add(part.quartic_importance[v]);
        }
      }
    }
  });
}

void Histogram::make_points(DType dtype, Points& points) const {
  const Part& all = parts_.front();
  const bool quartic = !all.quartic_importance.empty();
  points.weight.clear();
  points.importance.clear();
  points.quartic_importance.clear();
  for (std::size_t rank = 0; rank < kHalves; ++rank) {
    const std::uint16_t bits = bits_at_rank(rank);
    const double importance =
        all.counts.empty() ? all.importance[bits].sum : static_cast<double>(all.counts[bits]);
    const double quartic_importance = quartic ? all.quartic_importance[bits].sum : 0.0;
    append_value(dtype, bits, importance, quartic_importance, quartic, points);
  }
}

Points counted_points(DType dtype, const std::vector<std::uint64_t>& counts) {
  Points points;
  for (std::size_t rank = 0; rank < kHalves; ++rank) {
    const std::uint16_t bits = bits_at_rank(rank);
    append_value(dtype, bits, static_cast<double>(counts[bits]), 0.0, false, points);
  }
  return points;
}

}  // namespace wkmeans
