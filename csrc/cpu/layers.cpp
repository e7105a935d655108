#include "cpu/layers.h"

#include <algorithm>
#include <cstdint>

#include "cpu/interval_front.h"
#include "cpu/isa.h"

namespace wkmeans {
namespace {

constexpr std::size_t kLine = 64 / sizeof(double);

struct Table {
  double* layers;
  std::size_t stride;
  std::size_t n_blocks;
};

WKM_ALWAYS_INLINE double smaller(double a, double b) { return a < b ? a : b; }

// layers[to] = min over the edges of layers[from] + cost, a lane a layer. `cost_at(from)`.
template <class CostAt>
WKM_ALWAYS_INLINE void relax(const double* from_rows, std::size_t stride, std::size_t begin,
                             std::size_t end, CostAt&& cost_at, double* out) {
  double even[kLanes];
  double odd[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) even[lane] = odd[lane] = kInfinity;
  std::size_t from = begin;
  for (; from + 2 <= end; from += 2) {
    const double* a = from_rows + from * stride;
    const double* b = a + stride;
    const double cost_a = cost_at(from);
    const double cost_b = cost_at(from + 1);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      even[lane] = smaller(a[lane] + cost_a, even[lane]);
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      odd[lane] = smaller(b[lane] + cost_b, odd[lane]);
    }
  }
  if (from < end) {
    const double* a = from_rows + from * stride;
    const double cost = cost_at(from);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      even[lane] = smaller(a[lane] + cost, even[lane]);
    }
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) out[lane] = smaller(even[lane], odd[lane]);
}

struct RunForward {
  static WKM_ALWAYS_INLINE void run(const double* values, const std::size_t* rows,
                                    const std::size_t* firsts, std::size_t n,
                                    const double* discounts, Table table) {
    for (std::size_t to = 1; to <= n; ++to) {
      const double* costs = values + rows[to];
      double* out = table.layers + to * table.stride;
      out[0] = kInfinity;
      for (std::size_t block = 0; block < table.n_blocks; ++block) {
        double least[kLanes];
        relax(
            table.layers + block * kLanes, table.stride, firsts[to], to,
            [&](std::size_t from) { return costs[from]; }, least);
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          out[block * kLanes + 1 + lane] = least[lane] - discounts[to];
        }
      }
    }
  }
};

struct RunBackward {
  static WKM_ALWAYS_INLINE void run(const double* values, const std::size_t* rows,
                                    const std::size_t* firsts, std::size_t n,
                                    const double* discounts, Table table) {
    std::size_t last = n;
    for (std::size_t to = n; to-- > 0;) {
      while (firsts[last] > to) --last;
      double* out = table.layers + to * table.stride;
      for (std::size_t block = 0; block < table.n_blocks; ++block) {
        double least[kLanes];
        relax(
            table.layers + block * kLanes + 1, table.stride, to + 1, last + 1,
            [&](std::size_t from) { return values[rows[from] + to]; }, least);
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          out[block * kLanes + lane] = least[lane] - discounts[to];
        }
      }
      out[table.n_blocks * kLanes] = kInfinity;
    }
  }
};

struct LeastSum {
  static WKM_ALWAYS_INLINE double run(const double* a, const double* b, std::size_t n_blocks) {
    double least[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) least[lane] = kInfinity;
    for (std::size_t i = 0; i < n_blocks * kLanes; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        least[lane] = smaller(a[i + lane] + b[i + lane], least[lane]);
      }
    }
    return *std::min_element(least, least + kLanes);
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
  dispatch<RunForward>(costs.values(), costs.rows(), costs.firsts(), n_, discounts.data(),
                       Table{layers, stride_, n_blocks_});
}

void Layers::run_backward(const IntervalCosts& costs, std::size_t k,
                          const std::vector<double>& discounts) {
  prepare(costs, k, backward_);
  double* layers = aligned(backward_);
  std::fill(layers + n_ * stride_, layers + (n_ + 1) * stride_, kInfinity);
  std::fill(layers + n_ * stride_, layers + n_ * stride_ + k + 1, 0.0);
  dispatch<RunBackward>(costs.values(), costs.rows(), costs.firsts(), n_, discounts.data(),
                        Table{layers, stride_, n_blocks_});
}

double Layers::least(std::size_t n_edges) const { return forward_row(n_)[n_edges]; }

double Layers::least_through(std::size_t node, double discount) const {
  // Lane 0 leaves the first node by no edge, and so does lane k arrive at the last.
  return discount +
         dispatch<LeastSum>(forward_row(node), aligned(backward_) + node * stride_, n_blocks_);
}

std::vector<std::size_t> Layers::path(const IntervalCosts& costs) const {
  std::vector<std::size_t> nodes{n_};
  for (std::size_t n_edges = k_; n_edges > 0; --n_edges) {
    const std::size_t to = nodes.back();
    std::size_t best = to - 1;
    double least = kInfinity;
    for (std::size_t from = costs.first(to); from < to; ++from) {
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
