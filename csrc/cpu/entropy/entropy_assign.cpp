#include "cpu/entropy/entropy_assign.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "cpu/base/interrupt.h"
#include "cpu/base/isa.h"
#include "cpu/base/items.h"

namespace wkmeans {
namespace {

// Weights in flight at once, on as many vector registers as they take.
constexpr std::int64_t kLanes = 16;
// Codewords that meet among themselves before they meet the best of those before them, so that the
// best is fetched and put back a quarter as often.
constexpr std::int64_t kHeat = 4;
// Items that stay in cache from their loading to the sums.
constexpr std::int64_t kRun = 1 << 11;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Squares of distances up to twice as far are finite. An infinite one times an importance of zero
// would be no number, which is not comparable.
constexpr double kLargest = 0x1p500;

struct Offer {
  double cost;
  std::int64_t label;
};

// Of equal offers the first, which is the lower label's.
WKM_ALWAYS_INLINE Offer cheaper(const Offer& first, const Offer& second) {
  const bool is_second = second.cost < first.cost;
  return {is_second ? second.cost : first.cost, is_second ? second.label : first.label};
}

// Writes each weight's cheapest label and returns whether all of them have a finite cost. `k` is a
// multiple of kHeat. A kernel for each kind of objective keeps the inner loop free of branches.
template <bool Quartic>
struct CheapestLabel {
  static WKM_ALWAYS_INLINE bool run(const double* weight, const double* importance,
                                    const double* quartic_importance, std::int64_t count,
                                    const double* centroids, const double* prices, std::int64_t k,
                                    std::int64_t* labels) {
    std::int64_t n_overflown = 0;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      n_overflown += block<kLanes>(weight + i, importance + i, quartic_importance + i, centroids,
                                   prices, k, labels + i);
    }
    for (; i < count; ++i) {
      n_overflown += block<1>(weight + i, importance + i, quartic_importance + i, centroids, prices,
                              k, labels + i);
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
    for (std::int64_t j = 0; j < k; j += kHeat) {
      const double* c = centroids + j;
      const double* price = prices + j;
      for (std::int64_t lane = 0; lane < Lanes; ++lane) {
        const double w = weight[lane];
        const double i = importance[lane];
        const double h = Quartic ? quartic_importance[lane] : 0.0;
        const Offer best{least[lane], label[lane]};
        const Offer low =
            cheaper(offer(w, i, h, c[0], price[0], j), offer(w, i, h, c[1], price[1], j + 1));
        const Offer high =
            cheaper(offer(w, i, h, c[2], price[2], j + 2), offer(w, i, h, c[3], price[3], j + 3));
        const Offer next = cheaper(best, cheaper(low, high));
        least[lane] = next.cost;
        label[lane] = next.label;
      }
    }
    std::int64_t n_overflown = 0;
    for (std::int64_t lane = 0; lane < Lanes; ++lane) labels[lane] = label[lane];
    for (std::int64_t lane = 0; lane < Lanes; ++lane)
      n_overflown += !(least[lane] < kInfinity && std::fabs(weight[lane]) < kLargest);
    return n_overflown;
  }

  static WKM_ALWAYS_INLINE Offer offer(double w, double i, double h, double centroid, double price,
                                       std::int64_t label) {
    const double distance = w - centroid;
    const double square = distance * distance;
    const double factor = Quartic ? i + h * square : i;
    return {factor * square + price, label};
  }
};

PricedCodebook padded(PricedCodebook codebook) {
  while (codebook.size() % kHeat != 0) {
    codebook.centroids.push_back(codebook.centroids.back());
    codebook.prices.push_back(kInfinity);
  }
  return codebook;
}

// The labels of `count` items of a run from item `first` on. `codebook` is padded.
bool label_cheapest(const ItemRun<double>& items, std::int64_t first, std::int64_t count,
                    const PricedCodebook& codebook, std::int64_t* labels) {
  const double* weight = items.weight + first;
  const double* importance = items.importance + first;
  const double* centroids = codebook.centroids.data();
  const double* prices = codebook.prices.data();
  const auto k = static_cast<std::int64_t>(codebook.size());
  return items.quartic_importance
             ? dispatch<CheapestLabel<true>>(weight, importance, items.quartic_importance + first,
                                             count, centroids, prices, k, labels)
             : dispatch<CheapestLabel<false>>(weight, importance, importance, count, centroids,
                                              prices, k, labels);
}

// Of a run that holds one.
std::int64_t first_overflown(const ItemRun<double>& items, const PricedCodebook& codebook,
                             std::int64_t* labels) {
  std::int64_t i = 0;
  while (label_cheapest(items, i, 1, codebook, labels)) ++i;
  return i;
}

// The sums of a segment of items. Runs of equal labels, many where a codeword is zero, would wait
// for each addition to end: neighbouring items add to different copies.
class LabelSums {
public:
  explicit LabelSums(std::size_t k) : sums_(kCopies * k), counts_(k) {}

  template <class Label>
  void add(const ItemRun<double>& items, const std::int64_t* found, const PricedCodebook& codebook,
           Label* labels) {
    const std::size_t k = counts_.size();
    for (std::int64_t i = 0; i < items.count; ++i) {
      const auto j = static_cast<std::size_t>(found[i]);
      const double distance = items.weight[i] - codebook.centroids[j];
      PowerSums& sums = sums_[(static_cast<std::size_t>(i) % kCopies) * k + j];
      if (items.quartic_importance) {
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
  const PricedCodebook offered = padded(codebook);
  const std::int64_t size = segment_size(n, k);
  const std::int64_t n_segments = (n + size - 1) / size;
  std::vector<LabelSums> segments(static_cast<std::size_t>(n_segments), LabelSums(k));
  constexpr std::int64_t kNone = -1;
  std::vector<std::int64_t> overflown(static_cast<std::size_t>(n_segments), kNone);
  parallel.run_with_workers(n_segments, [&] {
    return [&, reader = ItemReader<double>{},
            found = std::vector<std::int64_t>{}](std::int64_t segment) mutable {
      const std::int64_t end = std::min(n, (segment + 1) * size);
      for (std::int64_t begin = segment * size; begin < end; begin += kRun) {
        stop_if_interrupted();
        const std::int64_t count = std::min(kRun, end - begin);
        const ItemRun<double> items = reader.read(problems, problem, begin, count);
        check_items(problems, items);
        found.resize(static_cast<std::size_t>(count));
        if (!label_cheapest(items, 0, count, offered, found.data())) {
          overflown[static_cast<std::size_t>(segment)] =
              begin + first_overflown(items, offered, found.data());
          break;
        }
        segments[static_cast<std::size_t>(segment)].add(items, found.data(), codebook,
                                                        labels + begin);
      }
    };
  });
  // Only now, so that a value that is no weight or importance comes before it wherever that stands,
  // and the first of all segments.
  for (const std::int64_t item : overflown) {
    if (item != kNone) throw CostOverflow(item);
  }
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
