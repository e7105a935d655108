#pragma once

#include <cstdint>

#include "cuda/batch/codebook.h"
#include "cuda/batch/points.h"
#include "cuda/batch/team.h"
#include "cuda/items/items.h"
#include "cuda/items/stored_value.h"
#include "math/compensated_sum.h"
#include "math/item_cost.h"
#include "math/rounding.h"

namespace wkmeans::cuda {

// Between an item and the sum of all their costs, at most: H (w - c)^4 added to I (w - c)^2, then
// two for each time that lanes are combined.
constexpr double kAssignRoundings = 64.0;

class TeamLabels {
public:
  WKM_HD TeamLabels(const ProblemOutputs& outputs, std::int64_t first)
      : labels_(outputs.labels), type_(outputs.label_type), first_(first) {}

  WKM_HD void put(int item, int label) const {
    store_label(labels_, type_, first_ + item, static_cast<std::uint32_t>(label));
  }

private:
  void* labels_;
  LabelType type_;
  std::int64_t first_;
};

WKM_HD double cost_of_weight(double weight, double centroid, const TeamMass& mass) {
  return safe_item_cost(weight - centroid, mass.importance, mass.quartic_importance);
}

// Labels every item; sums[0] becomes their cost.
template <class Team>
WKM_HD void assign(Team& team, const TeamRow& row, bool unit_importance, const double* centroids,
                   const double* thresholds, int k, const TeamLabels& labels,
                   CompensatedSum* sums) {
  team.phase([&](int lane) {
    CompensatedSum sum;
    for (int item = lane; item < row.n_items(); item += team.size()) {
      const double weight = row.weight(item);
      const int label = label_of(weight, thresholds, k);
      labels.put(item, label);
      const TeamMass mass{unit_importance ? 1.0 : row.importance(item),
                          row.quartic_importance(item)};
      sum.add(cost_of_weight(weight, centroids[label], mass));
    }
    sums[lane] = sum;
  });
  reduce_groups(team, sums, team.size(), 1,
                [](CompensatedSum& sum, const CompensatedSum& other) { sum.add(other); });
}

// sums[0] becomes what points cost at their nearest values: no codebook costs less.
template <class Team, class Placement>
WKM_HD void add_up_nearest(Team& team, const TeamPoints& points, const Placement& placement,
                           CompensatedSum* sums) {
  team.phase([&](int lane) {
    CompensatedSum sum;
    for (int p = lane; p < points.size; p += team.size()) {
      const double weight = points.weight[p];
      const TeamMass mass{points.importance[p],
                          points.quartic_importance ? points.quartic_importance[p] : 0.0};
      sum.add(cost_of_weight(weight, placement.nearest(weight), mass));
    }
    sums[lane] = sum;
  });
  reduce_groups(team, sums, team.size(), 1,
                [](CompensatedSum& sum, const CompensatedSum& other) { sum.add(other); });
}

// What underflow may hide in the costs of points about these centroids.
struct TeamHidden {
  double importance = 0.0;
  int n_off_centroids = 0;

  WKM_HD double most(int n_points) const {
    return n_off_centroids > 0 ? kHiddenByUnderflow * (importance + n_points) : 0.0;
  }
};

// hidden[0] becomes that of all points.
template <class Team>
WKM_HD void find_hidden(Team& team, const TeamPoints& points, int pin, const double* centroids,
                        const double* thresholds, int k, TeamHidden* hidden) {
  team.phase([&](int lane) {
    TeamHidden sum;
    for (int p = lane; p < points.size; p += team.size()) {
      if (p == pin) continue;  // its centroid is exactly its own
      const double weight = points.weight[p];
      sum.importance +=
          points.importance[p] + (points.quartic_importance ? points.quartic_importance[p] : 0.0);
      sum.n_off_centroids += centroids[label_of(weight, thresholds, k)] != weight ? 1 : 0;
    }
    hidden[lane] = sum;
  });
  reduce_groups(team, hidden, team.size(), 1, [](TeamHidden& sum, const TeamHidden& other) {
    sum.importance += other.importance;
    sum.n_off_centroids += other.n_off_centroids;
  });
}

}  // namespace wkmeans::cuda
