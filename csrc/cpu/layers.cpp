#include "cpu/layers.h"

#include <algorithm>
#include <cstdint>

#include "cpu/interval_front.h"
#include "cpu/isa.h"
#include "cpu/lanes.h"

namespace wkmeans {
namespace {

constexpr std::size_t kLine = 64 / sizeof(double);

struct Table {
  double* layers;
  std::size_t stride;
  std::size_t n_blocks;
};

// layers[to] = min over the edges of layers[from] + cost, a lane a layer. `cost_at(from)`.
template <class CostAt>
WKM_ALWAYS_INLINE void relax(const double* from_rows, std::size_t stride, std::size_t begin,
                             std::size_t end, CostAt&& cost_at, double discount, double* out) {
  LaneMinima even;
  LaneMinima odd;
  std::size_t from = begin;
  for (; from + 2 <= end; from += 2) {
    even.take(from_rows + from * stride, cost_at(from));
    odd.take(from_rows + (from + 1) * stride, cost_at(from + 1));
  }
  if (from < end) even.take(from_rows + from * stride, cost_at(from));
  even.take(odd);
  even.store(out, discount);
}

struct RunForward {
  static WKM_ALWAYS_INLINE void run(const double* values, const std::size_t* rows,
                                    const std::size_t* firsts, const std::size_t* lasts,
                                    std::size_t n, const double* discounts, Table table) {
    for (std::size_t to = 1; to <= n; ++to) {
      const double* costs = values + rows[to];
      double* out = table.layers + to * table.stride;
      out[0] = kInfinity;
      for (std::size_t block = 0; block < table.n_blocks; ++block) {
        relax(
            table.layers + block * kLanes, table.stride, firsts[to], lasts[to] + 1,
            [&](std::size_t from) { return costs[from]; }, discounts[to], out + block * kLanes + 1);
      }
    }
  }
};

struct RunBackward {
  static WKM_ALWAYS_INLINE void run(const double* values, const std::size_t* rows,
                                    const std::size_t* firsts, const std::size_t* lasts,
                                    std::size_t n, const double* discounts, Table table) {
    std::size_t first = n;
    std::size_t last = n;
    for (std::size_t to = n; to-- > 0;) {
      while (first > to + 1 && lasts[first - 1] >= to) --first;
      while (firsts[last] > to) --last;
      double* out = table.layers + to * table.stride;
      for (std::size_t block = 0; block < table.n_blocks; ++block) {
        relax(
            table.layers + block * kLanes + 1, table.stride, first, last + 1,
            [&](std::size_t from) { return values[rows[from] + to]; }, discounts[to],
            out + block * kLanes);
      }
      out[table.n_blocks * kLanes] = kInfinity;
    }
  }
};

struct FindReached {
  static WKM_ALWAYS_INLINE void run(const double* forward, const double* backward,
                                    std::size_t stride, std::size_t n_nodes, std::size_t n_layers,
                                    double most, const double* discounts, std::size_t* first,
                                    std::size_t* last, char* reached) {
    for (std::size_t node = 1; node + 1 < n_nodes; ++node) {
      const double* f = forward + node * stride;
      const double* b = backward + node * stride;
      LaneMinima minima;
      for (std::size_t block = 0; block < n_layers; block += kLanes)
        minima.take(f + block, b + block);
      double least[kLanes];
      minima.store(least, 0.0);
      const double limit = most - discounts[node];
      reached[node] = *std::min_element(least, least + kLanes) <= limit ? 1 : 0;
      if (!reached[node]) continue;
      for (std::size_t j = 0; j < n_layers; ++j) {
        if (!(f[j] + b[j] <= limit)) continue;
        first[j] = node < first[j] ? node : first[j];
        last[j] = node;
      }
    }
  }
};

}  // namespace

const double* Layers::aligned(const Buffer<double>& layers) {
  const auto address = reinterpret_cast<std::uintptr_t>(layers.data()) / sizeof(double);
  return layers.data() + (kLine - address % kLine) % kLine;
}

double* Layers::aligned(Buffer<double>& layers) {
  return const_cast<double*>(aligned(static_cast<const Buffer<double>&>(layers)));
}

void Layers::prepare(const IntervalCosts& costs, std::size_t k, Buffer<double>& layers) {
  n_ = costs.n_cells();
  k_ = k;
  n_blocks_ = (k + kLanes - 1) / kLanes;
  stride_ = (n_blocks_ + 1) * kLanes;
  layers.resize(std::max(layers.size(), (n_ + 1) * stride_ + kLine));
}

void Layers::run_forward(const IntervalCosts& costs, std::size_t k,
                         const std::vector<double>& discounts) {
  prepare(costs, k, forward_);
  double* layers = aligned(forward_);
  std::fill(layers, layers + stride_, 0.0);
  dispatch<RunForward>(costs.values(), costs.rows(), costs.firsts(), costs.lasts(), n_,
                       discounts.data(), Table{layers, stride_, n_blocks_});
}

void Layers::run_backward(const IntervalCosts& costs, std::size_t k,
                          const std::vector<double>& discounts) {
  prepare(costs, k, backward_);
  double* layers = aligned(backward_);
  std::fill(layers + n_ * stride_, layers + (n_ + 1) * stride_, kInfinity);
  std::fill(layers + n_ * stride_, layers + n_ * stride_ + k + 1, 0.0);
  dispatch<RunBackward>(costs.values(), costs.rows(), costs.firsts(), costs.lasts(), n_,
                        discounts.data(), Table{layers, stride_, n_blocks_});
}

double Layers::least(std::size_t n_edges) const { return forward_row(n_)[n_edges]; }

bool Layers::keep_reached(double most, const std::vector<double>& discounts,
                          std::vector<NodeRange>& ranges, std::vector<char>& reached) {
  reached.assign(n_ + 1, 0);
  first_.assign(stride_, n_ + 1);
  last_.assign(stride_, 0);
  dispatch<FindReached>(forward_row(0), aligned(backward_), stride_, n_ + 1, n_blocks_ * kLanes,
                        most, discounts.data(), first_.data(), last_.data(), reached.data());
  for (std::size_t j = 1; j < k_; ++j) {
    NodeRange& range = ranges[j];
    range.first = std::max(range.first, first_[j]);
    range.last = std::min(range.last, last_[j]);
    if (range.first > range.last) return false;
  }
  return true;
}

std::vector<std::size_t> Layers::path(const IntervalCosts& costs) const {
  std::vector<std::size_t> nodes{n_};
  for (std::size_t n_edges = k_; n_edges > 0; --n_edges) {
    const std::size_t to = nodes.back();
    std::size_t best = to - 1;
    double least = kInfinity;
    for (std::size_t from = costs.first(to); from <= costs.last(to); ++from) {
      const double cost = forward_row(from)[n_edges - 1] + costs.at(from, to);
      if (cost < least) {
        least = cost;
        best = from;
      }
    }
    if (best == 0) break;
    nodes.push_back(best);
  }
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace wkmeans
