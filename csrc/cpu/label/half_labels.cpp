#include "cpu/label/half_labels.h"

#include <algorithm>
#include <cstring>

#include "cpu/label/codebook.h"
#include "cpu/read/half_bits.h"
#include "math/compensated_sum.h"

namespace wkmeans {
namespace {

// Loading is what a look-up waits for: four weights come in one load, the first in the low bits.
template <class Label>
void look_up(const std::uint16_t* bits, std::int64_t count, const Label* label_of, Label* labels) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    std::uint64_t four;
    std::memcpy(&four, bits + i, sizeof four);
    labels[i] = label_of[four & 0xffffu];
    labels[i + 1] = label_of[(four >> 16) & 0xffffu];
    labels[i + 2] = label_of[(four >> 32) & 0xffffu];
    labels[i + 3] = label_of[four >> 48];
  }
  for (; i < count; ++i) labels[i] = label_of[bits[i]];
}

}  // namespace

template <class Label>
void label_halves(const Problems& problems, std::int64_t problem,
                  const std::vector<double>& centroids, const Parallel& parallel, Label* labels) {
  std::vector<double> thresholds;
  label_thresholds(centroids, thresholds);
  std::vector<Label> label_of(kHalves, 0);
  std::size_t label = 0;
  for (std::size_t rank = 0; rank < kHalves; ++rank) {
    const std::uint16_t bits = bits_at_rank(rank);
    if ((bits & kMagnitude) >= infinity_of(problems.weights->dtype())) continue;
    const double weight = value_of_half(problems.weights->dtype(), bits);
    while (label < thresholds.size() && thresholds[label] < weight) ++label;
    label_of[bits] = static_cast<Label>(label);
  }
  for_each_chunk(parallel, problems.weights->n_items(),
                 [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                   std::uint16_t spare[kHalvesAtOnce];
                   for (; begin < end; begin += kHalvesAtOnce) {
                     const std::int64_t count = std::min(kHalvesAtOnce, end - begin);
                     look_up(problems.weights->bits(problem, begin, count, spare), count,
                             label_of.data(), labels + begin);
                   }
                 });
}

double histogram_cost(const Points& points, const std::vector<double>& centroids) {
  CompensatedSum cost;
  std::size_t i = 0;
  const std::vector<std::size_t> boundaries = cluster_boundaries(points, centroids);
  for (std::size_t j = 0; j < boundaries.size(); ++j) {
    for (; i < boundaries[j]; ++i) {
      const double distance = points.weight[i] - centroids[j];
      const double square = distance * distance;
      cost.add(points.importance[i] * square);  // apart: what each sum loses is made good
      if (points.quartic()) cost.add(points.quartic_importance[i] * (square * square));
    }
  }
  return cost.sum;
}

template void label_halves(const Problems&, std::int64_t, const std::vector<double>&,
                           const Parallel&, std::uint8_t*);
template void label_halves(const Problems&, std::int64_t, const std::vector<double>&,
                           const Parallel&, std::uint16_t*);
template void label_halves(const Problems&, std::int64_t, const std::vector<double>&,
                           const Parallel&, std::uint32_t*);

}  // namespace wkmeans
