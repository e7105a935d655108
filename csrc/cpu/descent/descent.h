#pragma once

#include <cstddef>
#include <vector>

#include "cpu/descent/strips.h"
#include "cpu/descent/window_paths.h"
#include "cpu/intervals/optimum.h"

namespace wkmeans {

// From the optimum with one more cluster to the next. Boundary j of the optimum with k clusters
// lies between boundaries j and j + 1 of that with k + 1 (Lemma 4). So every boundary has a window,
// the windows do not overlap, and shortest paths through them need no multiplier. What rounding may
// hide of one optimum's cost it may also hide of the next: the doubts add up, while costs grow.
template <class Moments>
class Descent {
public:
  // `from`: the optimum with k clusters.
  Descent(const Points& points, const Pyramid<Moments>& pyramid, const Placement& placement,
          const Optimum& from);

  // The optimum with one cluster fewer than the last, there being more than one. False where it is
  // not found to 1e-9 within `budget` intervals: then that is all.
  bool step(double budget);

  double cost() const { return cost_; }

private:
  using Nodes = std::vector<std::size_t>;

  void look_at_clusters();
  Surroundings surroundings_of(std::size_t window) const;
  double worth_of_a_cluster() const;
  void cut_whole_windows(std::size_t k);
  Strips<Moments> refined(const Strips<Moments>& windows, const std::vector<double>& through,
                          double least, double limit) const;
  bool settle(double lower_bound);
  void take_path(const Strips<Moments>& windows, const std::vector<double>& discounts);

  const Points& points_;
  const Pyramid<Moments>& pyramid_;
  const Placement& placement_;
  CellCutter<Moments> cutter_;
  WindowPaths<Moments> paths_;
  Nodes boundaries_;               // of the last optimum: cluster j ends before boundaries_[j]
  std::vector<Moments> clusters_;  // its clusters
  std::vector<double> centroids_, lefts_, rights_;  // theirs, and bounds where one is empty
  double cost_ = 0.0;
  double uncertain_ = 0.0;    // how far below the costs so far the truth may lie
  double last_saving_ = 0.0;  // by the last optimum's additional cluster
  double upper_bound_ = 0.0;
  Nodes incumbent_;
  // Every boundary's window cut for the first time, and how: most clusters stay from one optimum to
  // the next, and so do their cells.
  struct Cut {
    Surroundings surroundings;
    double worth;  // of a cluster, then
  };
  Strips<Moments> whole_, last_whole_;
  std::vector<Cut> cuts_, last_cuts_;
};

}  // namespace wkmeans
