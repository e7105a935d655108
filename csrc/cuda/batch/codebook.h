#pragma once

#include <cstdint>

#include "cuda/batch/intervals.h"
#include "cuda/batch/points.h"
#include "cuda/batch/team.h"
#include "math/centroid_grid.h"
#include "math/nearest.h"

namespace wkmeans::cuda {

// Every point's nearest value, if no more than k of them are different: nothing can be better.
// Returns how many there are; only the first k are written.
template <class Team, class Placement>
WKM_HD int nearest_values(Team& team, const TeamPoints& points, const Placement& placement, int k,
                          int* counts, double* values) {
  const auto is_new = [&](int p) {
    return p == 0 || placement.nearest(points.weight[p]) != placement.nearest(points.weight[p - 1]);
  };
  return compact(team, points.size, counts, is_new, [&](int p, int rank) {
    if (rank < k) values[rank] = placement.nearest(points.weight[p]);
  });
}

// The centroid of each cluster: cluster j ends before point ends[j]. Several lanes add up one
// cluster's moments; `moments` holds one for every lane and every cluster.
template <class Team, class Moments, class Placement>
WKM_HD void cluster_centroids(Team& team, const TeamIntervals<Moments, Placement>& intervals,
                              const TeamPoints& points, int k, const std::uint16_t* ends, int pin,
                              BatchPlacement kind, const CentroidGrid& grid, Moments* moments,
                              double* centroids) {
  const int group = at_least_one(team.size() / k);
  const auto begin_of = [&](int cluster) { return cluster > 0 ? int{ends[cluster - 1]} : 0; };
  for_each(team, k * group, [&](int task) {
    const int cluster = task / group;
    const int part = task % group;
    const int begin = begin_of(cluster);
    const int count = ends[cluster] - begin;
    moments[task] =
        intervals.summed(begin + count * part / group, begin + count * (part + 1) / group);
  });
  reduce_groups(team, moments, group, k,
                [](Moments& sum, const Moments& other) { sum = merge(sum, other); });
  for_each(team, k, [&](int cluster) {
    const int begin = begin_of(cluster);
    const int end = ends[cluster];
    const int first = cluster * group;
    const Moments& m = moments[first];
    if (begin <= pin && pin < end) {
      centroids[cluster] = 0.0;
    } else if (kind == BatchPlacement::anywhere) {
      centroids[cluster] =
          clamp_between(centre(m).value(), points.weight[begin], points.weight[end - 1]);
    } else {
      centroids[cluster] = best_on(grid, m).value;
    }
  });
}

// Surplus entries repeat the largest centroid; there is one zero, not two.
template <class Team>
WKM_HD void complete(Team& team, int n_found, int k, double* centroids) {
  for_each(team, k, [&](int j) {
    if (j >= n_found) centroids[j] = centroids[n_found - 1] + 0.0;
  });
  for_each(team, smaller(n_found, k), [&](int j) { centroids[j] += 0.0; });
}

// thresholds[j] is the largest value that takes a label of at most j: label(w) = number of
// thresholds below w. Exact, ties to the lower centroid; of equal centroids only the first is ever
// named. One fewer than centroids.
template <class Team>
WKM_HD void find_thresholds(Team& team, const double* centroids, int k, double* thresholds) {
  for_each(team, k - 1, [&](int j) {
    int next = j + 1;
    while (next < k && centroids[next] == centroids[j]) ++next;
    thresholds[j] = next < k ? split_point(centroids[j], centroids[next]) : HUGE_VAL;
  });
}

WKM_HD int label_of(double weight, const double* thresholds, int k) {
  int low = 0;
  for (int count = k - 1; count > 0;) {
    const int half = count / 2;
    const bool is_right = thresholds[low + half] < weight;
    low = is_right ? low + half + 1 : low;
    count = is_right ? count - half - 1 : half;
  }
  return low;
}

}  // namespace wkmeans::cuda
