#include "cpu/lagrangian/k_path.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

namespace wkmeans {
namespace {

// What one multiplier showed.
struct Probe {
  double multiplier = 0.0;
  double length = 0.0;  // of the shortest path
  std::vector<std::uint32_t> nodes;

  std::size_t n_edges() const { return nodes.size() - 1; }
};

// What is remembered of a probe past which others went.
struct Glance {
  double multiplier;
  std::size_t n_edges;
};

// The highest point that the bound on the cost of k edges can have between two probes. The bound is
// concave in the multiplier (Lemma 6), with as many edges as are too many for its slope: it stays
// below both tangents, which cross here.
struct Crossing {
  double multiplier;
  double rise;  // above the better of the two probes' bounds
};

Crossing crossing_between(const Probe& more, const Probe& fewer, std::size_t k) {
  const auto wanted = static_cast<double>(k);
  const double slope = static_cast<double>(more.n_edges()) - wanted;
  const double fall = wanted - static_cast<double>(fewer.n_edges());
  const double width = fewer.multiplier - more.multiplier;
  const double rise = (fewer.length - more.length) - width * wanted;
  const double share = std::clamp((rise + fall * width) / ((slope + fall) * width), 0.0, 1.0);
  return {more.multiplier + share * width, std::min(slope * share, fall * (1.0 - share)) * width};
}

// Between a probe of more edges than k and one of fewer.
class Bracket {
public:
  // The cost falls like a power of the number of edges, so the multiplier is interpolated on
  // logarithmic scales; where that has not halved the bracket in two steps, the third does. Where
  // the bracket is many decades wide the cost falls by a factor with every edge.
  double inside(const Probe& more, const Probe& fewer, std::size_t k) {
    constexpr double kWide = 60.0;  // in logarithms
    constexpr std::size_t kFewEdges = 4;
    const double low = std::log(more.multiplier);
    const double width = std::log(fewer.multiplier) - low;
    if (++n_interpolated_ > 2) {
      const bool halved = width <= 0.5 * width_to_halve_;
      n_interpolated_ = halved ? 1 : 0;
      if (!halved) return std::exp(low + 0.5 * width);
    }
    if (n_interpolated_ <= 1) width_to_halve_ = width;
    if (more.n_edges() - fewer.n_edges() <= kFewEdges) {
      const double crossing = crossing_between(more, fewer, k).multiplier;
      if (more.multiplier < crossing && crossing < fewer.multiplier) return crossing;
    }
    const auto position = [&](std::size_t n_edges) {
      const auto n = static_cast<double>(n_edges);
      return width > kWide ? n : std::log(n);
    };
    const double most = position(more.n_edges());
    const double least = position(fewer.n_edges());
    const double share = (most - position(k)) / (most - least);
    return std::exp(low + width * std::clamp(share, 0.02, 0.98));
  }

private:
  double width_to_halve_ = std::numeric_limits<double>::infinity();
  int n_interpolated_ = 0;
};

// Past a probe with nothing known on its other side; `before`: the one before it, on the same side
// and of another number of edges, where there is one. Importances may lie decades apart, so the
// steps grow.
double beyond(const Probe& probe, const std::optional<Glance>& before, std::size_t k, int n_steps) {
  constexpr double kLeast = std::numeric_limits<double>::min();
  constexpr double kOvershoot = 1.1;  // a bracket serves better than another probe this side of it
  constexpr double kLongestStep = 20.7;  // nine decades
  const auto n_edges = static_cast<double>(probe.n_edges());
  const auto wanted = static_cast<double>(k);
  const bool upwards = n_edges > wanted;
  double step = 3.5 * n_steps * std::fabs(std::log(n_edges / wanted));
  if (before) {
    const double edges = std::fabs(n_edges - static_cast<double>(before->n_edges));
    const double decades = std::fabs(std::log(probe.multiplier / before->multiplier));
    step = std::max(step, kOvershoot * decades * std::fabs(wanted - n_edges) / edges);
  }
  step = std::min(step, kLongestStep * (upwards ? 1 : n_steps));
  const double next = probe.multiplier * std::exp(upwards ? step : -step);
  return probe.multiplier > kLeast ? std::max(next, kLeast) : next;
}

template <class Moments>
double path_cost(const std::vector<Moments>& cells, const std::vector<std::uint32_t>& nodes,
                 const Placement& placement) {
  double cost = 0.0;
  for (std::size_t j = 0; j + 1 < nodes.size(); ++j) {
    Moments moments = cells[nodes[j]];
    for (std::uint32_t v = nodes[j] + 1; v < nodes[j + 1]; ++v) moments = merge(moments, cells[v]);
    cost += placement.cost(moments);
  }
  return cost;
}

std::vector<std::uint32_t> every_node(std::size_t n_cells) {
  std::vector<std::uint32_t> nodes(n_cells + 1);
  std::iota(nodes.begin(), nodes.end(), 0u);
  return nodes;
}

}  // namespace

template <class Moments>
KPath cheapest_path(const std::vector<Moments>& cells, std::size_t k, double guess,
                    Sweeper<Moments>& sweeper, double tolerance) {
  constexpr int kMostProbes = 200;
  constexpr double kNarrow = 1.0 + 1e-14;
  constexpr double kDrowned = 1e-17;
  double lower_bound = 0.0;
  const auto probe_at = [&](double multiplier) {
    const Potentials& potentials = sweeper.run(cells, multiplier, {});
    const double bound = potentials.costs.back() - multiplier * static_cast<double>(k);
    lower_bound = std::max(lower_bound, bound - path_slack(std::fabs(bound), multiplier, k));
    return Probe{multiplier, potentials.costs.back(), shortest_path(potentials)};
  };
  // Without a multiplier every cell is a cluster of its own; from the cost of the whole on, all are
  // one.
  Probe more{0.0, 0.0, every_node(cells.size())};
  Probe fewer{std::numeric_limits<double>::infinity(),
              std::numeric_limits<double>::infinity(),
              {0, static_cast<std::uint32_t>(cells.size())}};
  std::vector<std::uint32_t> found;
  double found_cost = std::numeric_limits<double>::infinity();
  std::optional<Glance> before;
  Bracket bracket;
  double multiplier = guess;
  for (int step = 0; step < kMostProbes && multiplier > 0.0 && std::isfinite(multiplier); ++step) {
    Probe probe = probe_at(multiplier);
    if (probe.n_edges() == k) {
      const double cost = path_cost(cells, probe.nodes, sweeper.placement());
      const bool cheaper = cost < found_cost;
      if (cheaper) {
        found_cost = cost;
        found = probe.nodes;
      }
      // Any multiplier from f(k) - f(k + 1) <= f(k) on finds this number of edges; one far above
      // f(k) would drown the differences between such paths in its own rounding.
      if (!cheaper || multiplier <= 2.0 * cost) break;
      fewer = std::move(probe);
      multiplier = cost;
      continue;
    }
    Probe& beside = probe.n_edges() > k ? more : fewer;
    before.reset();
    const bool tells_slope = beside.multiplier > 0.0 && std::isfinite(beside.multiplier) &&
                             beside.n_edges() != probe.n_edges();
    if (tells_slope) before = Glance{beside.multiplier, beside.n_edges()};
    beside = std::move(probe);
    if (fewer.multiplier <= more.multiplier * kNarrow) break;
    // Next to the cost of few edges the multipliers of all cells are nothing: what more edges save
    // is beneath its last digit.
    const bool is_known = std::isfinite(fewer.length);
    const double of_all = fewer.multiplier * static_cast<double>(cells.size());
    if (is_known && of_all <= kDrowned * fewer.length) break;
    const bool bracketed = more.multiplier > 0.0 && std::isfinite(fewer.multiplier);
    multiplier = bracketed ? bracket.inside(more, fewer, k)
                           : beyond(more.multiplier > 0.0 ? more : fewer, before, k, step + 1);
    if (bracketed && crossing_between(more, fewer, k).rise < tolerance) break;
  }
  if (!found.empty()) return {std::move(found), multiplier, lower_bound};
  if (more.n_edges() == k) return {std::move(more.nodes), multiplier, lower_bound};
  if (fewer.n_edges() == k) return {std::move(fewer.nodes), multiplier, lower_bound};
  return {splice(fewer.nodes, more.nodes, k), multiplier, lower_bound};
}

std::vector<std::uint32_t> splice(const std::vector<std::uint32_t>& fewer,
                                  const std::vector<std::uint32_t>& more, std::size_t k) {
  const std::size_t surplus = k - (fewer.size() - 1);
  // The first edge of `fewer` that holds the edge of `more` which comes `surplus` later: crossing
  // over there costs no more than the two edges themselves.
  std::size_t i = 0;
  while (more[i + 1 + surplus] > fewer[i + 1]) ++i;
  std::vector<std::uint32_t> nodes(more.begin(),
                                   more.begin() + static_cast<std::ptrdiff_t>(i + surplus + 1));
  nodes.insert(nodes.end(), fewer.begin() + static_cast<std::ptrdiff_t>(i + 1), fewer.end());
  return nodes;
}

template KPath cheapest_path(const std::vector<QuadraticMoments>&, std::size_t, double,
                             Sweeper<QuadraticMoments>&, double);
template KPath cheapest_path(const std::vector<QuarticMoments>&, std::size_t, double,
                             Sweeper<QuarticMoments>&, double);

}  // namespace wkmeans
