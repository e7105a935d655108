#include "cpu/descent/descent.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/intervals/bounds.h"
#include "cpu/lagrangian/k_path.h"

namespace wkmeans {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

template <class Moments>
Descent<Moments>::Descent(const Points& points, const Pyramid<Moments>& pyramid,
                          const Placement& placement, const Optimum& from)
    : points_(points),
      pyramid_(pyramid),
      placement_(placement),
      cutter_(points, pyramid),
      paths_(placement),
      boundaries_(from.boundaries),
      uncertain_(from.cost - from.lower_bound) {
  look_at_clusters();
}

template <class Moments>
bool Descent<Moments>::step(double budget) {
  constexpr int kMostLevels = 60;
  const std::size_t k = boundaries_.size() - 1;
  const double most_work = paths_.work() + budget;
  upper_bound_ = kInfinity;
  cut_whole_windows(k);
  Strips<Moments> windows = whole_;
  for (int level = 0; level < kMostLevels && paths_.work() <= most_work; ++level) {
    std::vector<double> discounts;
    boundary_discounts(windows.gains, discounts);
    const std::vector<double>& forward = paths_.run_forward(windows, discounts);
    const double least = forward.back();
    if (!std::isfinite(least)) return false;
    take_path(windows, discounts);
    const double slack = path_slack(upper_bound_, 0.0, k);
    if (upper_bound_ - least <= slack) return settle(least - slack);
    const std::vector<double>& backward = paths_.run_backward(windows, discounts);
    std::vector<double> through(windows.n_nodes());  // the least cost of a path through each node
    for (std::size_t i = 0; i < through.size(); ++i)
      through[i] = forward[i] + backward[i] + discounts[i];
    windows = refined(windows, through, least, upper_bound_ + slack);
    if (windows.size() != k + 1) return false;
  }
  return false;
}

// Takes the shortest path, its boundaries left where they are, as the incumbent if it is cheaper.
template <class Moments>
void Descent<Moments>::take_path(const Strips<Moments>& windows,
                                 const std::vector<double>& discounts) {
  const Nodes nodes = paths_.shortest_path(windows);
  double cost = paths_.least();
  for (const std::size_t node : nodes) cost += discounts[node];
  if (!(cost < upper_bound_)) return;
  upper_bound_ = cost;
  incumbent_.clear();
  for (std::size_t j = 1; j < nodes.size(); ++j) incumbent_.push_back(windows.positions[nodes[j]]);
}

template <class Moments>
bool Descent<Moments>::settle(double lower_bound) {
  constexpr double kCertified = 1e-9;
  const double before = cost_;
  boundaries_ = incumbent_;
  look_at_clusters();
  last_saving_ = cost_ - before;
  uncertain_ += std::max(0.0, cost_ - lower_bound);
  return uncertain_ <= kCertified * cost_;
}

template <class Moments>
void Descent<Moments>::look_at_clusters() {
  const std::size_t k = boundaries_.size();
  clusters_.clear();
  cost_ = 0.0;
  std::size_t begin = 0;
  for (const std::size_t end : boundaries_) {
    clusters_.push_back(pyramid_.range(begin, end));
    cost_ += placement_.cost(clusters_.back());
    begin = end;
  }
  centroids_.assign(k, points_.low(0));
  for (std::size_t j = 0; j < k; ++j) {
    if (!clusters_[j].empty()) {
      centroids_[j] = placement_.centroid(clusters_[j]);
    } else if (j > 0) {
      centroids_[j] = centroids_[j - 1];  // anywhere between its neighbours'
    }
  }
}

// Boundary `window` of the next optimum lies inside cluster `window` of this one, counted from
// zero, and its centroids between those of neighbours here: on a grid, but for ties.
template <class Moments>
Surroundings Descent<Moments>::surroundings_of(std::size_t window) const {
  const double left = centroids_[window - 1];
  const double right = centroids_[window + 1];
  return {left - placement_.step_at(left), centroids_[window], right + placement_.step_at(right)};
}

// Roughly what the next optimum costs more: at least what the last one did, at most as much as
// merging two clusters, which is three times too much where weights lie evenly.
template <class Moments>
double Descent<Moments>::worth_of_a_cluster() const {
  double least = kInfinity;
  for (std::size_t j = 0; j + 1 < clusters_.size(); ++j) {
    const double apart = placement_.cost(clusters_[j]) + placement_.cost(clusters_[j + 1]);
    least = std::min(least, placement_.cost(merge(clusters_[j], clusters_[j + 1])) - apart);
  }
  return std::max({0.0, last_saving_, least / 3.0});  // rounding may make little negative
}

template <class Moments>
void Descent<Moments>::cut_whole_windows(std::size_t k) {
  constexpr double kLeast = 0.02;  // of what a cluster is worth, shared by all boundaries
  constexpr double kMost = 0.04;   // of the same, for one boundary
  constexpr double kStale = 0.7;   // cells cut for less than that of today's worth are too fine
  const double worth = worth_of_a_cluster();
  const Tolerance tolerance{kLeast * worth / static_cast<double>(k), kMost * worth};
  std::swap(whole_, last_whole_);
  std::swap(cuts_, last_cuts_);
  whole_.clear();
  cuts_.assign(1, Cut{});
  whole_.begin_window();
  whole_.positions.push_back(0);
  Moments cell = clusters_.front();
  std::size_t last = 1;  // of the last windows, where this one may be found
  for (std::size_t j = 1; j < k; ++j) {
    const std::size_t begin = boundaries_[j - 1];
    const std::size_t end = boundaries_[j];
    whole_.begin_window();
    whole_.add(cell, 0.0, begin);
    cell = Moments{};
    cuts_.push_back({surroundings_of(j), worth});
    const auto begins = [&](std::size_t window) {
      return last_whole_.positions[last_whole_.first[window]];
    };
    while (last < last_cuts_.size() && begins(last) < begin) ++last;
    const bool kept = last < last_cuts_.size() && begins(last) == begin &&
                      last_whole_.positions[last_whole_.first[last + 1] - 1] == end &&
                      last_cuts_[last].surroundings == cuts_[j].surroundings &&
                      last_cuts_[last].worth >= kStale * worth;
    if (kept) {
      cuts_[j] = last_cuts_[last];
      whole_.add_rest_of(last_whole_, last);
    } else if (begin < end) {
      cutter_.cut(begin, end, clusters_[j], cuts_[j].surroundings, tolerance, whole_);
    }
  }
  whole_.begin_window();
  whole_.add(merge(cell, clusters_.back()), 0.0, points_.size());
  whole_.begin_window();
}

// Leaves out nodes through which every path costs more than `limit`, and cuts the cells beside the
// others; stops short where a window has no node left.
template <class Moments>
Strips<Moments> Descent<Moments>::refined(const Strips<Moments>& windows,
                                          const std::vector<double>& through, double least,
                                          double limit) const {
  // How much a cell may leave undecided before it is cut: so much that k such cells make up
  // 1 / kReduction of the gap, or this share of what a boundary there costs anyway.
  constexpr double kReduction = 64.0;
  constexpr double kShare = 0.25;
  const std::size_t k = windows.size() - 1;
  const double fair = (limit - least) / (kReduction * static_cast<double>(k));
  Strips<Moments> fine;
  fine.begin_window();
  fine.positions.push_back(0);
  Moments closed = windows.cells.front();  // since the last node
  const auto keep = [&](std::size_t node) {
    if (fine.positions.size() > fine.first.back() &&
        fine.positions.back() == windows.positions[node])
      return;
    fine.add(closed, 0.0, windows.positions[node]);
    closed = Moments{};
  };
  for (std::size_t j = 1; j < k; ++j) {
    fine.begin_window();
    const std::size_t last = windows.first[j + 1] - 1;
    for (std::size_t i = windows.first[j]; i < last; ++i) {
      if (!(through[i] > limit)) keep(i);
      const double cheapest = std::min(through[i], through[i + 1]);
      if (windows.gains[i] > 0.0 && !(cheapest > limit)) {
        keep(i);
        const double tolerated = std::max(fair, kShare * (cheapest - least));
        cutter_.cut(windows.positions[i], windows.positions[i + 1], windows.cells[i],
                    surroundings_of(j), {tolerated, tolerated}, fine);
      } else {
        closed = merge(closed, windows.cells[i]);
      }
    }
    if (!(through[last] > limit)) keep(last);
    if (fine.positions.size() == fine.first.back()) return {};
    closed = merge(closed, windows.cells[last]);
  }
  fine.begin_window();
  fine.add(closed, 0.0, points_.size());
  fine.begin_window();
  return fine;
}

template class Descent<QuadraticMoments>;
template class Descent<QuarticMoments>;

}  // namespace wkmeans
