#include "cpu/lloyd/initial_centroids.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "cpu/base/interrupt.h"

namespace wkmeans {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): the standard library's distributions differ between
// platforms.
class Random {
public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  double uniform() {  // [0, 1)
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

private:
  std::uint64_t state_;
};

// Non-negative masses that are drawn from and partly replaced in turn; block sums keep both cheap.
class MassTable {
public:
  explicit MassTable(std::vector<double> masses) : masses_(std::move(masses)) {
    block_sums_.resize((masses_.size() + kBlock - 1) / kBlock);
    refresh(0, masses_.size());
  }

  double& operator[](std::size_t i) { return masses_[i]; }

  // To be called after masses [begin, end) have changed.
  void refresh(std::size_t begin, std::size_t end) {
    for (std::size_t block = begin / kBlock; block * kBlock < end; ++block) {
      const std::size_t stop = std::min(masses_.size(), (block + 1) * kBlock);
      double sum = 0.0;
      for (std::size_t i = block * kBlock; i < stop; ++i) sum += masses_[i];
      block_sums_[block] = sum;
    }
  }

  double total() const {
    double sum = 0.0;
    for (const double block_sum : block_sums_) sum += block_sum;
    return sum;
  }

  // The item at `level` of the cumulative mass; never one of mass zero.
  std::size_t item_at(double level) const {
    std::size_t block = 0;
    while (block + 1 < block_sums_.size() && level >= block_sums_[block])
      level -= block_sums_[block++];
    std::size_t last_positive = masses_.size();
    for (std::size_t i = block * kBlock; i < masses_.size(); ++i) {
      if (!(masses_[i] > 0.0)) continue;
      if (level < masses_[i]) return i;
      level -= masses_[i];
      last_positive = i;
    }
    if (last_positive < masses_.size()) return last_positive;
    // Rounding carried `level` past every mass of the last blocks.
    std::size_t i = masses_.size() - 1;
    while (i > 0 && !(masses_[i] > 0.0)) --i;
    return i;
  }

private:
  static constexpr std::size_t kBlock = 1024;
  std::vector<double> masses_;
  std::vector<double> block_sums_;
};

double point_cost(const Points& points, std::size_t i, double centroid) {
  const double distance = points.weight[i] - centroid;
  const double square = distance * distance;
  return points.importance[i] * square +
         (points.quartic() ? points.quartic_importance[i] * square * square : 0.0);
}

}  // namespace

std::vector<std::size_t> quantile_ranks(std::size_t n_points, std::size_t k) {
  std::vector<std::size_t> ranks(k);
  for (std::size_t j = 0; j < k; ++j) ranks[j] = (2 * j + 1) * n_points / (2 * k);
  return ranks;
}

std::vector<double> quantile_centroids(const Points& points, std::size_t k) {
  std::vector<double> centroids;
  centroids.reserve(k);
  for (const std::size_t rank : quantile_ranks(points.size(), k))
    centroids.push_back(points.weight[rank]);
  return centroids;
}

std::vector<double> linear_centroids(const Points& points, std::size_t k) {
  return linear_centroids(points.weight.front(), points.weight.back(), k);
}

std::vector<double> linear_centroids(double low, double high, std::size_t k) {
  if (k == 1) return {low / 2 + high / 2};
  std::vector<double> centroids(k);
  const double intervals = static_cast<double>(k - 1);
  for (std::size_t j = 0; j < k; ++j) {
    const double share = static_cast<double>(j) / intervals;
    centroids[j] = low * (1.0 - share) + high * share;
  }
  return centroids;
}

std::vector<double> kmeans_plus_plus_centroids(const Points& points, std::size_t k,
                                               std::uint64_t seed) {
  Random random(seed);
  std::vector<double> first_masses(points.importance.begin(), points.importance.end());
  if (points.quartic()) {
    for (std::size_t i = 0; i < points.size(); ++i) first_masses[i] += points.quartic_importance[i];
  }
  MassTable masses(std::move(first_masses));
  std::set<std::size_t> chosen{masses.item_at(random.uniform() * masses.total())};
  const std::size_t first = *chosen.begin();
  for (std::size_t i = 0; i < points.size(); ++i)
    masses[i] = point_cost(points, i, points.weight[first]);
  masses.refresh(0, points.size());
  while (chosen.size() < k) {
    const double total = masses.total();
    if (!(total > 0.0)) {  // every cost underflowed: take the points in order
      for (std::size_t i = 0; i < points.size() && chosen.size() < k; ++i) chosen.insert(i);
      break;
    }
    const std::size_t drawn = masses.item_at(random.uniform() * total);
    const auto next = chosen.upper_bound(drawn);
    const double centroid = points.weight[drawn];
    // Only points between the neighbouring centroids can have the new one as their nearest.
    const std::size_t begin = next == chosen.begin() ? 0 : *std::prev(next);
    const std::size_t end = next == chosen.end() ? points.size() : *next;
    for (std::size_t i = begin; i < end; ++i)
      masses[i] = std::min(masses[i], point_cost(points, i, centroid));
    masses.refresh(begin, end);
    chosen.insert(drawn);
    stop_if_interrupted_after(end - begin);
  }
  std::vector<double> centroids;
  centroids.reserve(k);
  for (const std::size_t i : chosen) centroids.push_back(points.weight[i]);
  return centroids;
}

}  // namespace wkmeans
