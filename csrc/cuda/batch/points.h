#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/batch/problem.h"
#include "cuda/batch/team.h"
#include "cuda/items/stored_value.h"

namespace wkmeans::cuda {

// One problem's items, as doubles.
class TeamRow {
public:
  WKM_HD TeamRow(const Batch& batch, std::int64_t problem) : batch_(&batch), problem_(problem) {}

  WKM_HD int n_items() const { return static_cast<int>(batch_->n_items); }
  WKM_HD bool quartic() const { return batch_->quartic_importance.values != nullptr; }

  WKM_HD double weight(int item) const { return load(batch_->weights, item); }
  WKM_HD double importance(int item) const {
    return batch_->importance.values ? load(batch_->importance, item) : 1.0;
  }
  WKM_HD double quartic_importance(int item) const {
    return quartic() ? load(batch_->quartic_importance, item) : 0.0;
  }
  WKM_HD std::uint64_t index(int item) const {
    return static_cast<std::uint64_t>(problem_ * batch_->n_items + item);
  }

private:
  WKM_HD double load(const BatchOperand& operand, int item) const {
    const std::int64_t at = problem_ * operand.problem_stride + item * operand.item_stride;
    return stored_value(operand.values, operand.type, at);
  }

  const Batch* batch_;
  std::int64_t problem_;
};

// What a team knows of the problem it solves.
struct TeamState {
  std::uint64_t first_bad_item;  // BadItems::kNone where there is none
  int pin;                       // the point whose centroid is zero, or -1
  double bound, cost;            // of a codebook, before rounding is allowed for
};

// The distinct weights that carry importance, ascending, with the importances of equal weights
// added up. Where no weight carries any, each counts 1.
struct TeamPoints {
  double* weight;
  double* importance;
  double* quartic_importance;  // null where the objective is quadratic
  int size;
};

// While points are collected.
struct TeamSorting {
  double* weight;        // of each item, sorted
  std::uint16_t* order;  // which item that is
};

struct TeamMass {
  double importance, quartic_importance;
};

// Reports items that cannot be clustered; returns whether any carries importance.
template <class Team>
WKM_HD bool check_items(Team& team, const TeamRow& row, TeamState& state, BadItems& errors,
                        int* counts) {
  team.phase([&](int lane) {
    int n_important = 0;
    for (int item = lane; item < row.n_items(); item += team.size()) {
      const double importance = row.importance(item);
      const double quartic_importance = row.quartic_importance(item);
      const auto report = [&](bool sound, std::uint64_t& error) {
        if (sound) return;
        team.lower(&error, row.index(item));
        team.lower(&state.first_bad_item, row.index(item));
      };
      report(std::fabs(row.weight(item)) < HUGE_VAL, errors.weight);
      report(importance >= 0.0 && importance < HUGE_VAL, errors.importance);
      report(quartic_importance >= 0.0 && quartic_importance < HUGE_VAL, errors.quartic_importance);
      n_important += importance > 0.0 || quartic_importance > 0.0 ? 1 : 0;
    }
    counts[lane] = n_important;
  });
  reduce_groups(team, counts, team.size(), 1, [](int& sum, int other) { sum += other; });
  return counts[0] > 0;
}

// A problem's items in order. A zero that is pinned is one more, without importance of its own.
template <class Team>
WKM_HD int sort_items(Team& team, const TeamRow& row, BatchZero zero, const TeamSorting& sorted) {
  const int n_entries = row.n_items() + (zero == BatchZero::pinned ? 1 : 0);
  for_each(team, n_entries, [&](int i) {
    sorted.weight[i] = i < row.n_items() ? row.weight(i) + 0.0 : 0.0;  // there is one zero, not two
    sorted.order[i] = static_cast<std::uint16_t>(i);
  });
  sort(team, n_entries, [&](int a, int b) {
    const double weight = sorted.weight[a];
    const double other_weight = sorted.weight[b];
    const std::uint16_t item = sorted.order[a];
    const std::uint16_t other_item = sorted.order[b];
    if (weight < other_weight || (weight == other_weight && item < other_item)) return;
    sorted.weight[a] = other_weight;
    sorted.weight[b] = weight;
    sorted.order[a] = other_item;
    sorted.order[b] = item;
  });
  return n_entries;
}

// What the run of equal weights that starts at `begin` weighs, in the order of its items.
WKM_HD TeamMass mass_of_run(const TeamRow& row, const TeamSorting& sorted, int n_entries, int begin,
                            bool unit_importance) {
  TeamMass mass{0.0, 0.0};
  for (int i = begin; i < n_entries && sorted.weight[i] == sorted.weight[begin]; ++i) {
    const int item = sorted.order[i];
    if (item == row.n_items()) continue;  // the pinned zero
    mass.importance += unit_importance ? 1.0 : row.importance(item);
    mass.quartic_importance += row.quartic_importance(item);
  }
  return mass;
}

template <class Team>
WKM_HD int merge_equal(Team& team, const TeamRow& row, const TeamSorting& sorted, int n_entries,
                       BatchZero zero, bool unit_importance, int* counts,
                       const TeamPoints& points) {
  const auto counts_as_point = [&](int i) {
    if (i > 0 && sorted.weight[i] == sorted.weight[i - 1]) return false;
    if (zero == BatchZero::pinned && sorted.weight[i] == 0.0) return true;
    const TeamMass mass = mass_of_run(row, sorted, n_entries, i, unit_importance);
    return mass.importance > 0.0 || mass.quartic_importance > 0.0;
  };
  return compact(team, n_entries, counts, counts_as_point, [&](int i, int rank) {
    const TeamMass mass = mass_of_run(row, sorted, n_entries, i, unit_importance);
    points.weight[rank] = sorted.weight[i];
    points.importance[rank] = mass.importance;
    if (points.quartic_importance) points.quartic_importance[rank] = mass.quartic_importance;
  });
}

// A centroid fixed at zero is the limit of a point at zero whose importance outweighs all others:
// so many decades above them, its centroid moves off zero by less than any digit shows.
template <class Team>
WKM_HD void pin_zero(Team& team, const TeamPoints& points, double* sums, TeamState& state) {
  constexpr double kDecades = 1e60;
  const double least = std::fabs(points.weight[0]);
  const double most = std::fabs(points.weight[points.size - 1]);
  const double widest = least > most ? least : most;
  team.phase([&](int lane) {
    double mass = 0.0;
    for (int p = lane; p < points.size; p += team.size()) {
      mass += points.importance[p];
      if (points.quartic_importance) mass += points.quartic_importance[p] * (widest * widest);
    }
    sums[lane] = mass;
  });
  reduce_groups(team, sums, team.size(), 1, [](double& sum, double other) { sum += other; });
  for_each(team, points.size, [&](int p) {
    if (points.weight[p] != 0.0) return;
    points.importance[p] += kDecades * sums[0];
    state.pin = p;
  });
}

}  // namespace wkmeans::cuda
