#pragma once

#include "campaign/cases.h"
#include "cpu/cluster/cluster.h"

namespace wkmeans::testing {

struct Answer {
  std::vector<double> centroids;
  std::vector<std::uint8_t> labels;
  double scale, cost, lower_bound;
};

inline Answer solved_by_cpu(const Case& c, const FormatOption& option, Zero zero) {
  ClusterOptions options;
  options.solver.k = c.k;
  options.solver.format = option.format;
  options.solver.optimal_in_format = option.optimal_in_format;
  options.zero = zero;
  Answer answer;
  answer.centroids.resize(c.k);
  answer.labels.resize(c.items.size());
  std::int64_t n_iter = 0;
  const ItemProblems problems(c.items, c.quartic);
  cluster(problems.view(), options,
          ClusterOutput<std::uint8_t>{answer.centroids.data(), answer.labels.data(), &answer.scale,
                                      &answer.cost, &answer.lower_bound, &n_iter});
  return answer;
}

}  // namespace wkmeans::testing
