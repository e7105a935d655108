#include "cpu/label/bucket_labels.h"

#include <cstdint>
#include <limits>
#include <optional>

#include "cpu/label/assign.h"
#include "cpu/label/codebook.h"
#include "cpu/label/label_pass.h"

namespace wkmeans {
namespace {

// What the weights of a bucket are labelled: up to the threshold, and past it.
struct BucketLabels {
  double threshold = std::numeric_limits<double>::infinity();
  std::uint32_t labels[2] = {0, 0};
};

// Nothing where two thresholds lie in one bucket.
std::optional<std::vector<BucketLabels>> labels_of(const std::vector<BucketMap::Bounds>& ranges,
                                                   const std::vector<double>& centroids) {
  std::vector<double> thresholds;
  label_thresholds(centroids, thresholds);
  std::vector<BucketLabels> found;
  found.reserve(ranges.size());
  std::uint32_t label = 0;
  for (const BucketMap::Bounds& range : ranges) {
    BucketLabels own;
    while (label < thresholds.size() && thresholds[label] < range.low) ++label;
    own.labels[0] = label;
    for (; label < thresholds.size() && thresholds[label] < range.high; ++label) {
      if (label != own.labels[0] && thresholds[label] != own.threshold) return std::nullopt;
      own.threshold = thresholds[label];
    }
    own.labels[1] = label;
    found.push_back(own);
  }
  return found;
}

struct LookUpInBucket {
  const BucketMap::Bucket* buckets;  // of the items
  const BucketLabels* labels;

  template <std::int64_t Lanes>
  WKM_ALWAYS_INLINE void find(std::int64_t items, const double* weight, std::int64_t* label) const {
    for (std::int64_t lane = 0; lane < Lanes; ++lane) {
      const BucketLabels& own = labels[buckets[items + lane]];
      label[lane] = own.labels[own.threshold < weight[lane] ? 1 : 0];
    }
  }
};

}  // namespace

template <class Label>
double assign_in_buckets(const BucketedPoints& buckets, const std::vector<double>& centroids,
                         const Parallel& parallel, Label* labels) {
  const auto found = labels_of(buckets.map().bounds(), centroids);
  if (!found) {
    return assign(buckets.problems(), buckets.problem(), centroids, false, parallel, labels);
  }
  const auto look_up = [&](std::int64_t begin) {
    return LookUpInBucket{buckets.bucket_of_items() + begin, found->data()};
  };
  return label_pass(buckets.problems(), buckets.problem(), centroids, false, parallel, look_up,
                    labels);
}

template double assign_in_buckets(const BucketedPoints&, const std::vector<double>&,
                                  const Parallel&, std::uint8_t*);
template double assign_in_buckets(const BucketedPoints&, const std::vector<double>&,
                                  const Parallel&, std::uint16_t*);
template double assign_in_buckets(const BucketedPoints&, const std::vector<double>&,
                                  const Parallel&, std::uint32_t*);

}  // namespace wkmeans
