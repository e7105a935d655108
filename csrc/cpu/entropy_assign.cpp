#include "cpu/entropy_assign.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "cpu/isa.h"

namespace wkmeans {
namespace {

// Weights in flight at once, on as many vector registers as they take.
constexpr std::int64_t kLanes = 16;
// Items that stay in cache from their loading to the sums.
constexpr std::int64_t kRun = 1 << 11;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct CheapestLabel {
  static WKM_ALWAYS_INLINE bool run(const double* weight, const double* importance,
                                    const double* quartic_importance, std::int64_t count,
                                    const double* centroids, const double* prices, std::int64_t k,
                                    std::int64_t* labels) {
    std::int64_t n_overflown = 0;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      n_overflown += block<kLanes>(weight + i, importance + i,
                                   quartic_importance ? quartic_importance + i : nullptr, centroids,
                                   prices, k, labels + i);
    }
    for (; i < count; ++i) {
      n_overflown += block<1>(weight + i, importance + i,
                              quartic_importance ? quartic_importance + i : nullptr, centroids,
                              prices, k, labels + i);
    }
    return n_overflown == 0;
  }

  template <std::int64_t Lanes>
  static WKM_ALWAYS_INLINE std::int64_t block(const double* weight, const double* importance,
                                              const double* quartic_importance,
                                              const double* centroids, const double* prices,
                                              std::int64_t k, std::int64_t* labels) {
    double least[Lanes];
    std::int64_t label[Lanes] = {};
    for (std::int64_t lane = 0; lane < Lanes; ++lane) least[lane] = kInfinity;
    for (std::int64_t j = 0; j < k; ++j) {
      const double centroid = centroids[j];
      const double price = prices[j];
      for (std::int64_t lane = 0; lane < Lanes; ++lane) {
        const double distance = weight[lane] - centroid;
        const double square = distance * distance;
        double factor = importance[lane];
        if (quartic_importance) factor += quartic_importance[lane] * square;
        const double cost = factor * square + price;
        const bool better = cost < least[lane];
        least[lane] = better ? cost : least[lane];
        label[lane] = better ? j : label[lane];
      }
    }
    std::int64_t n_overflown = 0;
    for (std::int64_t lane = 0; lane < Lanes; ++lane) {
      labels[lane] = label[lane];
      n_overflown += !(least[lane] < kInfinity);
    }
    return n_overflown;
  }
};

// The sums of a segment of items. Runs of equal labels, many where a codeword is zero, would wait
// for each addition to end: neighbouring items add to different copies.
class LabelSums {
public:
  explicit LabelSums(std::size_t k) : sums_(kCopies * k), counts_(k) {}

  template <class Label>
  void add(const ItemBuffer& items, bool quartic, const std::vector<std::int64_t>& found,
           const PricedCodebook& codebook, Label* labels) {
    const std::size_t k = counts_.size();
    for (std::size_t i = 0; i < items.weight.size(); ++i) {
      const auto j = static_cast<std::size_t>(found[i]);
      const double distance = items.weight[i] - codebook.centroids[j];
      PowerSums& sums = sums_[(i % kCopies) * k + j];
      if (quartic) {
        sums.add(distance, items.importance[i], items.quartic_importance[i]);
      } else {
        sums.add(distance, items.importance[i]);
      }
      ++counts_[j];
      const auto label = static_cast<Label>(j);
      n_changed_ += label != labels[i];
      labels[i] = label;
    }
  }

  void add_to(EntropyAssignment& total) const {
    const std::size_t k = counts_.size();
    for (std::size_t j = 0; j < k; ++j) {
      PowerSums sums = sums_[j];
      for (std::size_t copy = 1; copy < kCopies; ++copy) sums.add(sums_[copy * k + j]);
      total.sums[j].add(sums);
      total.counts[j] += counts_[j];
    }
    total.n_changed += n_changed_;
  }

private:
  static constexpr std::size_t kCopies = 4;

  std::vector<PowerSums> sums_;
  std::vector<std::int64_t> counts_;
  std::int64_t n_changed_ = 0;
};

// Items are cut into segments whose sums are combined in order. Their number depends on the problem
// alone, and is such that the sums take no more memory than the weights do.
std::int64_t segment_size(std::int64_t n, std::size_t k) {
  constexpr std::int64_t kMostSegments = 64;
  const std::int64_t least = std::max(kChunk, 64 * static_cast<std::int64_t>(k));
  const std::int64_t size = std::max(least, (n + kMostSegments - 1) / kMostSegments);
  return (size + kRun - 1) / kRun * kRun;
}

}  // namespace

double EntropyAssignment::cost() const {
  double cost = 0.0;
  for (const PowerSums& label_sums : sums) cost += label_sums.cost();
  return cost;
}

template <class Label>
EntropyAssignment entropy_assign(const Problems& problems, std::int64_t problem,
                                 const PricedCodebook& codebook, const Parallel& parallel,
                                 Label* labels) {
  const std::int64_t n = problems.weights->n_items();
  const std::size_t k = codebook.size();
  const std::int64_t size = segment_size(n, k);
  const std::int64_t n_segments = (n + size - 1) / size;
  std::vector<LabelSums> segments(static_cast<std::size_t>(n_segments), LabelSums(k));
  parallel.run_with_workers(n_segments, [&] {
    return [&, items = ItemBuffer{},
            found = std::vector<std::int64_t>{}](std::int64_t segment) mutable {
      const std::int64_t end = std::min(n, (segment + 1) * size);
      for (std::int64_t begin = segment * size; begin < end; begin += kRun) {
        const std::int64_t count = std::min(kRun, end - begin);
        load_items(problems, problem, begin, count, items);
        check_items(problems, items);
        found.resize(static_cast<std::size_t>(count));
        const bool finite =
            dispatch<CheapestLabel>(items.weight.data(), items.importance.data(),
                                    problems.quartic() ? items.quartic_importance.data() : nullptr,
                                    count, codebook.centroids.data(), codebook.prices.data(),
                                    static_cast<std::int64_t>(k), found.data());
        if (!finite) {
          throw std::overflow_error(
              "weights: I (w - c)^2 + H (w - c)^4 exceeds the range of float64 about every "
              "centroid; scale the weights or importances down");
        }
        segments[static_cast<std::size_t>(segment)].add(items, problems.quartic(), found, codebook,
                                                        labels + begin);
      }
    };
  });
  EntropyAssignment total;
  total.counts.resize(k);
  total.sums.resize(k);
  for (const LabelSums& segment : segments) segment.add_to(total);
  return total;
}

template EntropyAssignment entropy_assign(const Problems&, std::int64_t, const PricedCodebook&,
                                          const Parallel&, std::uint8_t*);
template EntropyAssignment entropy_assign(const Problems&, std::int64_t, const PricedCodebook&,
                                          const Parallel&, std::uint16_t*);
template EntropyAssignment entropy_assign(const Problems&, std::int64_t, const PricedCodebook&,
                                          const Parallel&, std::uint32_t*);

}  // namespace wkmeans
