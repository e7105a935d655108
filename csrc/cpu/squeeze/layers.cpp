#include "cpu/squeeze/layers.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cpu/base/isa.h"
#include "cpu/base/lanes.h"
#include "cpu/intervals/front.h"

namespace wkmeans {
namespace {

constexpr std::size_t kLine = 64 / sizeof(float);

struct Edges {
  const float* values;
  const std::size_t *rows, *firsts, *lasts;
  std::size_t n;
};

struct Table {
  float* layers;
  std::size_t stride;
  std::size_t n_lanes;
};

// out = min over the edges of layers[from] + cost, less the discount, N layers at once.
template <std::size_t N, class CostAt>  // cost_at(from)
WKM_ALWAYS_INLINE void relax(const float* from_rows, std::size_t stride, std::size_t begin,
                             std::size_t end, CostAt&& cost_at, float discount, float* out) {
  LaneMinima<N> even;
  LaneMinima<N> odd;
  std::size_t from = begin;
  for (; from + 2 <= end; from += 2) {
    even.take(from_rows + from * stride, cost_at(from));
    odd.take(from_rows + (from + 1) * stride, cost_at(from + 1));
  }
  if (from < end) even.take(from_rows + from * stride, cost_at(from));
  even.take(odd);
  even.store(out, discount);
}

// relax() for all layers, in the widest steps that their number fills. `in` and `out` are the parts
// of a row that it reads and writes.
template <class CostAt>
WKM_ALWAYS_INLINE void relax_all(const Table& table, const float* in, std::size_t begin,
                                 std::size_t end, CostAt&& cost_at, float discount, float* out) {
  std::size_t lane = 0;
  for (; lane + 2 * kLanes <= table.n_lanes; lane += 2 * kLanes)
    relax<2 * kLanes>(in + lane, table.stride, begin, end, cost_at, discount, out + lane);
  if (lane < table.n_lanes)
    relax<kLanes>(in + lane, table.stride, begin, end, cost_at, discount, out + lane);
}

struct RunForward {
  static WKM_ALWAYS_INLINE void run(Edges edges, const float* discounts, Table table) {
    for (std::size_t to = 1; to <= edges.n; ++to) {
      const float* costs = edges.values + edges.rows[to];
      float* out = table.layers + to * table.stride;
      out[0] = std::numeric_limits<float>::infinity();
      relax_all(
          table, table.layers, edges.firsts[to], edges.lasts[to] + 1,
          [&](std::size_t from) { return costs[from]; }, discounts[to], out + 1);
    }
  }
};

struct RunBackward {
  static WKM_ALWAYS_INLINE void run(Edges edges, const float* discounts, Table table) {
    std::size_t first = edges.n;
    std::size_t last = edges.n;
    for (std::size_t to = edges.n; to-- > 0;) {
      while (first > to + 1 && edges.lasts[first - 1] >= to) --first;
      while (edges.firsts[last] > to) --last;
      float* out = table.layers + to * table.stride;
      relax_all(
          table, table.layers + 1, first, last + 1,
          [&](std::size_t from) { return edges.values[edges.rows[from] + to]; }, discounts[to],
          out);
      out[table.n_lanes] = std::numeric_limits<float>::infinity();
    }
  }
};

struct FindReached {
  static WKM_ALWAYS_INLINE void run(const float* forward, const float* backward, std::size_t stride,
                                    std::size_t n_nodes, std::size_t n_lanes, float most,
                                    const float* discounts, std::size_t* first, std::size_t* last,
                                    char* reached) {
    for (std::size_t node = 1; node + 1 < n_nodes; ++node) {
      const float* f = forward + node * stride;
      const float* b = backward + node * stride;
      LaneMinima<kLanes> minima;
      for (std::size_t lane = 0; lane < n_lanes; lane += kLanes) minima.take(f + lane, b + lane);
      float least[kLanes];
      minima.store(least, 0.0f);
      const float limit = most - discounts[node];
      reached[node] = *std::min_element(least, least + kLanes) <= limit ? 1 : 0;
      if (!reached[node]) continue;
      for (std::size_t j = 0; j < n_lanes; ++j) {
        if (!(f[j] + b[j] <= limit)) continue;
        first[j] = node < first[j] ? node : first[j];
        last[j] = node;
      }
    }
  }
};

Edges edges_of(const IntervalCosts& costs) {
  return {costs.values(), costs.rows(), costs.firsts(), costs.lasts(), costs.n_cells()};
}

}  // namespace

const float* Layers::aligned(const Buffer<float>& layers) {
  const auto address = reinterpret_cast<std::uintptr_t>(layers.data()) / sizeof(float);
  return layers.data() + (kLine - address % kLine) % kLine;
}

float* Layers::aligned(Buffer<float>& layers) {
  return const_cast<float*>(aligned(static_cast<const Buffer<float>&>(layers)));
}

void Layers::prepare(const IntervalCosts& costs, std::size_t k,
                     const std::vector<double>& discounts, Buffer<float>& layers) {
  n_ = costs.n_cells();
  k_ = k;
  unit_ = costs.unit();
  n_lanes_ = (k + kLanes - 1) / kLanes * kLanes;
  stride_ = n_lanes_ + kLanes;
  layers.resize(std::max(layers.size(), (n_ + 1) * stride_ + kLine));
  discounts_.resize(n_ + 1);
  for (std::size_t node = 0; node <= n_; ++node)
    discounts_[node] = static_cast<float>(discounts[node] / unit_);
}

void Layers::run_forward(const IntervalCosts& costs, std::size_t k,
                         const std::vector<double>& discounts) {
  prepare(costs, k, discounts, forward_);
  float* layers = aligned(forward_);
  std::fill(layers, layers + stride_, 0.0f);
  dispatch<RunForward>(edges_of(costs), discounts_.data(), Table{layers, stride_, n_lanes_});
}

void Layers::run_backward(const IntervalCosts& costs, std::size_t k,
                          const std::vector<double>& discounts) {
  prepare(costs, k, discounts, backward_);
  float* layers = aligned(backward_);
  std::fill(layers + n_ * stride_, layers + (n_ + 1) * stride_,
            std::numeric_limits<float>::infinity());
  std::fill(layers + n_ * stride_, layers + n_ * stride_ + k + 1, 0.0f);
  dispatch<RunBackward>(edges_of(costs), discounts_.data(), Table{layers, stride_, n_lanes_});
}

double Layers::least(std::size_t n_edges) const {
  constexpr double kUnderflow = 1e-30;  // of floats, generously
  const auto least = static_cast<double>(forward_row(n_)[n_edges]);
  return unit_ * (least * (1.0 + rounding()) + kUnderflow);
}

// Two roundings for each edge: to a float, and of the sum; and two for each discount.
double Layers::rounding() const {
  constexpr double kRoundingsAnEdge = 4.0;
  return kRoundingsAnEdge * static_cast<double>(k_ + 1) * 0.5 *
         std::numeric_limits<float>::epsilon();
}

bool Layers::keep_reached(double most, std::vector<Positions>& ranges, std::vector<char>& reached) {
  reached.assign(n_ + 1, 0);
  first_.assign(stride_, n_ + 1);
  last_.assign(stride_, 0);
  const auto limit = static_cast<float>(most / unit_ + rounding());
  dispatch<FindReached>(forward_row(0), aligned(backward_), stride_, n_ + 1, n_lanes_, limit,
                        discounts_.data(), first_.data(), last_.data(), reached.data());
  for (std::size_t j = 1; j < k_; ++j) {
    Positions& range = ranges[j];
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
    float least = std::numeric_limits<float>::infinity();
    for (std::size_t from = costs.first(to); from <= costs.last(to); ++from) {
      const float cost = forward_row(from)[n_edges - 1] + costs.at(from, to);
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
