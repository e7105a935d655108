#pragma once

#include <cstdint>

#include "cuda/batch/assign.h"
#include "cuda/batch/codebook.h"
#include "cuda/batch/layers.h"
#include "cuda/batch/layout.h"
#include "cuda/batch/placement.h"
#include "cuda/batch/points.h"
#include "cuda/batch/team.h"
#include "math/rounding.h"

namespace wkmeans::cuda {

// Solves one problem of a batch after another with one team.
template <class Team, class Moments, class Placement>
class TeamSolver {
public:
  WKM_HD TeamSolver(Team& team, const Batch& batch, const BatchOptions& options,
                    const ProblemOutputs& outputs, const TeamScratch<Moments, Placement>& scratch)
      : team_(team),
        batch_(batch),
        options_(options),
        outputs_(outputs),
        s_(scratch),
        k_(static_cast<int>(options.k)) {}

  // The problems of one of several teams that share a batch.
  WKM_HD void solve_share(std::int64_t first, std::int64_t n_teams, std::int64_t end) {
    for (std::int64_t problem = first; problem < end; problem += n_teams) solve(problem);
  }

private:
  WKM_HD void solve(std::int64_t problem) {
    const TeamRow row(batch_, problem);
    reset();
    const bool unit_importance = !check_items(team_, row, *s_.state, *outputs_.errors, s_.counts);
    if (s_.state->first_bad_item != BadItems::kNone) return;
    const TeamPoints points = collect(row, unit_importance);
    const double scale = scale_of(options_.scale, widest(points));
    const CentroidGrid grid = scaled(options_.grid, scale);
    const double bound = find_codebook(points, Placement::on(grid), grid);
    find_thresholds(team_, s_.centroids, k_, s_.thresholds);
    assign(team_, row, unit_importance, s_.centroids, s_.thresholds, k_,
           TeamLabels(outputs_, problem * batch_.n_items), s_.compensated);
    report(problem, points, scale, bound);
  }

  // The barrier before it: lanes may still be looking at the problem before.
  WKM_HD void reset() {
    team_.phase([](int) {});
    team_.phase([&](int lane) {
      if (lane == 0) *s_.state = {BadItems::kNone, -1, 0.0, 0.0};
    });
  }

  WKM_HD TeamPoints collect(const TeamRow& row, bool unit_importance) {
    const int n_entries = sort_items(team_, row, options_.zero, s_.sorting);
    TeamPoints points = s_.points;
    points.size = merge_equal(team_, row, s_.sorting, n_entries, options_.zero, unit_importance,
                              s_.counts, points);
    if (options_.zero == BatchZero::pinned) pin_zero(team_, points, s_.sums, *s_.state);
    return points;
  }

  // Returns what no codebook goes below.
  WKM_HD double find_codebook(const TeamPoints& points, const Placement& placement,
                              const CentroidGrid& grid) {
    constexpr double kRounding = 1e-12;  // of a sum of costs of single points
    const int n_values = nearest_values(team_, points, placement, k_, s_.counts, s_.centroids);
    if (n_values <= k_) {
      complete(team_, n_values, k_, s_.centroids);
      add_up_nearest(team_, points, placement, s_.compensated);
      team_.phase([&](int lane) {
        if (lane == 0) s_.state->bound = s_.compensated[0].total() * (1.0 - kRounding);
      });
      return s_.state->bound;
    }
    TeamIntervals<Moments, Placement> intervals(points, placement, s_.halves);
    intervals.build(team_, s_.building);
    const double cost =
        TeamLayers<Team, TeamIntervals<Moments, Placement>>(team_, intervals, s_.rows)
            .solve(k_, s_.ends);
    cluster_centroids(team_, intervals, points, k_, s_.ends, s_.state->pin, options_.placement,
                      grid, s_.moments, s_.centroids);
    complete(team_, k_, k_, s_.centroids);
    return cost * (1.0 - rounding_slack(static_cast<std::size_t>(points.size)));
  }

  WKM_HD void report(std::int64_t problem, const TeamPoints& points, double scale, double bound) {
    team_.phase([&](int lane) {
      if (lane == 0) s_.state->cost = s_.compensated[0].total();
    });
    const double cost = s_.state->cost;
    const bool hides = cost < kUnderflowing || bound < kUnderflowing;
    if (hides) {
      find_hidden(team_, points, s_.state->pin, s_.centroids, s_.thresholds, k_, s_.hidden);
    }
    team_.phase([&](int lane) {
      for (int j = lane; j < k_; j += team_.size())
        outputs_.centroids[problem * k_ + j] = s_.centroids[j];
      if (lane != 0) return;
      const double hidden = hides ? s_.hidden[0].most(points.size) : 0.0;
      const double n_merged = static_cast<double>(batch_.n_items);
      outputs_.costs[problem] = Rounding{relative_rounding(kAssignRoundings), hidden}.above(cost);
      outputs_.lower_bounds[problem] = Rounding{relative_rounding(n_merged), hidden}.below(bound);
      outputs_.scales[problem] = scale;
    });
  }

  static WKM_HD double widest(const TeamPoints& points) {
    const double least = std::fabs(points.weight[0]);
    const double most = std::fabs(points.weight[points.size - 1]);
    return least > most ? least : most;
  }

  Team& team_;
  const Batch& batch_;
  const BatchOptions& options_;
  const ProblemOutputs& outputs_;
  const TeamScratch<Moments, Placement>& s_;
  const int k_;
};

// As many lanes as keep busy, whatever the device: sums are grouped by lanes.
inline int lanes_for(std::int64_t n_items) {
  constexpr std::int64_t kWarp = 32;
  constexpr std::int64_t kMostLanes = 512;
  constexpr std::int64_t kItemsPerLane = 2;
  const std::int64_t warps = (n_items + kItemsPerLane * kWarp - 1) / (kItemsPerLane * kWarp);
  return static_cast<int>(warps * kWarp < kMostLanes ? warps * kWarp : kMostLanes);
}

inline TeamShape shape_of(const Batch& batch, const BatchOptions& options) {
  return {static_cast<int>(batch.n_items), static_cast<int>(options.k), lanes_for(batch.n_items),
          batch.quartic_importance.values != nullptr, options.zero == BatchZero::pinned};
}

}  // namespace wkmeans::cuda
