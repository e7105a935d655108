#include "cpu/squeeze/windows.h"

#include <algorithm>
#include <cmath>

#include "cpu/base/isa.h"
#include "cpu/intervals/front.h"

namespace wkmeans {
namespace {

template <class Sums>
struct EstimateClusters {
  static WKM_ALWAYS_INLINE void run(SumColumns sums, std::size_t k, double* centroids,
                                    double* costs, double* residuals, double* stiffnesses) {
    for (std::size_t block = 0; block < k; block += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::size_t j = block + lane;
        const Estimate e = Sums::between(sums, j, j + 1).estimate_from_afar(centroids[j]);
        centroids[j] = e.centroid;
        costs[j] = e.cost;
        residuals[j] = e.residual;
        stiffnesses[j] = e.stiffness;
      }
    }
  }
};

}  // namespace

Windows all_windows(std::size_t n_points, std::size_t k) {
  Windows windows;
  for (std::size_t j = 0; j <= k; ++j) {
    windows.low.push_back(j < k ? j : n_points);
    windows.high.push_back(j > 0 ? n_points - (k - j) : 0);
  }
  return windows;
}

template <class Moments>
void SqueezeLloyd<Moments>::estimate(const std::vector<std::size_t>& boundaries) {
  using Sums = typename SumsOf<Moments>::Type;
  const std::size_t k = boundaries.size() - 1;
  const std::size_t stride = k + 1 + kLanes;
  const SumColumns from = sums_.columns();
  columns_.resize(Sums::kCount * stride);
  for (std::size_t f = 0; f < Sums::kCount; ++f) {
    for (std::size_t j = 0; j <= k; ++j) {
      columns_[f * stride + j] = from.data[f * from.stride + boundaries[j]];
    }
  }
  for (auto* column : {&centroids_, &costs_, &residuals_, &stiffnesses_}) column->resize(stride);
  for (std::size_t j = 0; j < k; ++j) {
    centroids_[j] = sums_.middle(boundaries[j], boundaries[j + 1]);
  }
  dispatch<EstimateClusters<Sums>>(SumColumns{columns_.data(), stride, from.radius}, k,
                                   centroids_.data(), costs_.data(), residuals_.data(),
                                   stiffnesses_.data());
}

template <class Moments>
double SqueezeLloyd<Moments>::cost(const std::vector<std::size_t>& boundaries) {
  estimate(boundaries);
  double cost = 0.0;
  for (std::size_t j = 0; j + 1 < boundaries.size(); ++j) cost += costs_[j];
  return cost;
}

// Of cluster j of those last estimated; it lies between the cluster's points whatever its sums say.
template <class Moments>
double SqueezeLloyd<Moments>::centroid(const std::vector<std::size_t>& boundaries, std::size_t j,
                                       Bound bound) const {
  const double least = sums_.x()[boundaries[j]];
  const double most = sums_.x()[boundaries[j + 1] - 1];
  double value = centroids_[j];
  if (bound != Bound::none) {
    const double reach = sums_.reach({value, 0.0, residuals_[j], stiffnesses_[j]});
    value += bound == Bound::low ? -reach : reach;
  }
  return std::min(std::max(value, least), most);
}

template <class Moments>
void SqueezeLloyd<Moments>::polish(int max_rounds, std::vector<std::size_t>& boundaries) {
  const double* x = sums_.x();
  std::vector<std::size_t> moved = boundaries;
  const std::size_t k = boundaries.size() - 1;
  for (int round = 0; round < max_rounds; ++round) {
    estimate(boundaries);
    bool changed = false;
    double before = centroid(boundaries, 0, Bound::none);
    for (std::size_t j = 1; j < k; ++j) {
      const double after = centroid(boundaries, j, Bound::none);
      const double middle = 0.5 * (before + after);
      std::size_t to = boundaries[j];
      while (to < sums_.size() && x[to] <= middle) ++to;
      while (to > 0 && x[to - 1] > middle) --to;
      if (to <= moved[j - 1] || to >= sums_.size()) return;
      changed = changed || to != boundaries[j];
      moved[j] = to;
      before = after;
    }
    if (!changed) return;
    boundaries = moved;
  }
}

template <class Moments>
bool SqueezeLloyd<Moments>::raise_low(Windows& windows) {
  const double* x = sums_.x();
  estimate(windows.low);
  bool changed = false;
  double before = centroid(windows.low, 0, Bound::low);
  std::size_t previous = 0;
  for (std::size_t j = 1; j < windows.n_clusters(); ++j) {
    const double after = centroid(windows.low, j, Bound::low);
    const double middle = 0.5 * (before + after) - sums_.x_error();
    before = after;
    std::size_t& low = windows.low[j];
    std::size_t to = std::max(low, previous + 1);
    if (to > windows.high[j]) return !(contradicted_ = true);
    if (x[to] < middle) {
      to = static_cast<std::size_t>(std::lower_bound(x + to, x + windows.high[j] + 1, middle) - x);
      if (to > windows.high[j]) return !(contradicted_ = true);
    }
    changed = changed || to != low;
    previous = low = to;
  }
  return changed;
}

template <class Moments>
bool SqueezeLloyd<Moments>::lower_high(Windows& windows) {
  const double* x = sums_.x();
  estimate(windows.high);
  bool changed = false;
  const std::size_t k = windows.n_clusters();
  double after = centroid(windows.high, k - 1, Bound::high);
  std::size_t next = sums_.size();
  for (std::size_t j = k - 1; j > 0; --j) {
    const double before = centroid(windows.high, j - 1, Bound::high);
    const double middle = 0.5 * (before + after) + sums_.x_error();
    after = before;
    std::size_t& high = windows.high[j];
    std::size_t to = std::min(high, next - 1);
    if (to < windows.low[j]) return !(contradicted_ = true);
    if (x[to - 1] > middle) {
      to = static_cast<std::size_t>(std::upper_bound(x + windows.low[j] - 1, x + to, middle) - x);
      if (to < windows.low[j]) return !(contradicted_ = true);
    }
    changed = changed || to != high;
    next = high = to;
  }
  return changed;
}

template <class Moments>
bool SqueezeLloyd<Moments>::squeeze(int max_rounds, Windows& windows) {
  contradicted_ = false;
  bool low_moves = true;
  bool high_moves = true;
  for (int round = 0; round < max_rounds && (low_moves || high_moves); ++round) {
    if (low_moves) low_moves = raise_low(windows);
    if (contradicted_) return false;
    if (high_moves) high_moves = lower_high(windows);
    if (contradicted_) return false;
  }
  return true;
}

template <class Moments>
void SqueezeLloyd<Moments>::bound_centroids(const Windows& windows, std::vector<double>& low,
                                            std::vector<double>& high) {
  const std::size_t k = windows.n_clusters();
  low.resize(k);
  high.resize(k);
  estimate(windows.low);
  for (std::size_t j = 0; j < k; ++j) low[j] = centroid(windows.low, j, Bound::low);
  estimate(windows.high);
  for (std::size_t j = 0; j < k; ++j) high[j] = centroid(windows.high, j, Bound::high);
}

template class SqueezeLloyd<QuadraticMoments>;
template class SqueezeLloyd<QuarticMoments>;

}  // namespace wkmeans
