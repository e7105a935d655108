#include "cpu/squeeze/interval_costs.h"

#include <algorithm>

#include "cpu/intervals/front.h"

namespace wkmeans {
namespace {

constexpr double kTolerated = 1e-5;  // slack, as a share of the limit: little beside discounts

struct Rows {
  float* values;
  std::size_t *first, *last, *row;
};

template <class Sums>
struct FillRows {
  static WKM_ALWAYS_INLINE double run(SumColumns sums, std::size_t n_cells,
                                      const std::size_t* earliest, const std::size_t* latest,
                                      double limit, double* centroids, Rows rows) {
    std::size_t first = 0;
    std::size_t used = 0;
    const double tolerated = kTolerated * limit;
    const double scale = 1.0 / limit;
    double most_slack = 0.0;
    double loosest = 0.0;
    for (std::size_t end = 1; end <= n_cells; ++end) {
      first = earliest[end] > first ? earliest[end] : first;
      first = first < end ? first : end - 1;
      std::size_t last = latest[end] < end ? latest[end] : end - 1;
      last = last > first ? last : first;
      const std::size_t begin = first / kLanes * kLanes;
      // At least kLanes values an end: a row's number of values used never lags its first start.
      const std::size_t row = used - begin;
      float* costs = rows.values + row;
      for (std::size_t block = begin; block <= last; block += kLanes) {
        for (int round = 0; round < Sums::kMostRounds; ++round) {
          double slacks[kLanes];
          WKM_INDEPENDENT
          for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const double guess = centroids[block + lane];
            const Estimate e = Sums::between(sums, block + lane, end).estimate(guess);
            centroids[block + lane] = block + lane < end ? e.centroid : guess;
            const double slack = Sums::slack(e);
            const double cost = e.cost - slack;
            costs[block + lane] = static_cast<float>(scale * cost);
            slacks[lane] = block + lane < end && cost <= limit ? slack : 0.0;
          }
          if (Sums::kMostRounds == 1) break;
          loosest = *std::max_element(slacks, slacks + kLanes);
          if (loosest <= tolerated) break;
        }
        most_slack = loosest > most_slack ? loosest : most_slack;
        used += kLanes;
      }
      while (first < last && costs[first] > 1.0f) ++first;
      rows.first[end] = first;
      rows.last[end] = last;
      rows.row[end] = row;
    }
    return most_slack;
  }
};

// A first guess for each start: the mean of its first cell.
template <class Sums>
void start_centroids(SumColumns sums, std::size_t n_cells, double* centroids) {
  for (std::size_t v = 0; v < n_cells; ++v) centroids[v] = Sums::between(sums, v, v + 1).mean();
  std::fill(centroids + n_cells, centroids + n_cells + 1 + kLanes, 0.0);
}

}  // namespace

template <class Sums>
void IntervalCosts::fill(SumColumns sums, const Starts& starts, double limit) {
  const std::size_t n_nodes = starts.latest.size();
  unit_ = limit;
  n_cells_ = n_nodes - 1;
  std::size_t most = 0;
  for (std::size_t end = 1; end < n_nodes; ++end) {
    most += std::max(starts.latest[end], starts.earliest[end]) - starts.earliest[end] + 2 * kLanes;
  }
  if (values_.size() < most) values_.resize(most);
  for (auto* column : {&first_, &last_, &row_}) column->assign(n_nodes, 0);
  centroids_.resize(n_nodes + kLanes);
  start_centroids<Sums>(sums, n_cells_, centroids_.data());
  slack_ = dispatch<FillRows<Sums>>(sums, n_cells_, starts.earliest.data(), starts.latest.data(),
                                    limit, centroids_.data(),
                                    Rows{values_.data(), first_.data(), last_.data(), row_.data()});
}

template void IntervalCosts::fill<QuadraticSums>(SumColumns, const Starts&, double);
template void IntervalCosts::fill<QuarticSums>(SumColumns, const Starts&, double);

}  // namespace wkmeans
