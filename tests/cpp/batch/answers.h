#pragma once

#include <cstdint>
#include <vector>

#include "batch/host_team.h"
#include "batches.h"
#include "support.h"

// What a solver of small problems answers, held to what the CPU's answers.
namespace wkmeans::testing {

using cuda::testing::batch_of;

using Solve = void (*)(const cuda::Batch&, const cuda::BatchOptions&, const cuda::ProblemOutputs&);

inline void solve_as_one_team(const cuda::Batch& batch, const cuda::BatchOptions& options,
                              const cuda::ProblemOutputs& outputs) {
  solve_on_host(batch, options, outputs);
}

struct Answers {
  std::vector<double> centroids, costs, lower_bounds, scales;
  std::vector<std::uint32_t> labels;
  cuda::BadItems errors;

  bool operator==(const Answers& other) const {
    return centroids == other.centroids && costs == other.costs &&
           lower_bounds == other.lower_bounds && scales == other.scales && labels == other.labels;
  }
};

template <class SolveBatch>
Answers answers(const cuda::Batch& batch, const cuda::BatchOptions& options, SolveBatch&& solve) {
  const auto n_problems = static_cast<std::size_t>(batch.n_problems);
  Answers a;
  a.centroids.resize(n_problems * static_cast<std::size_t>(options.k));
  a.costs.resize(n_problems);
  a.lower_bounds.resize(n_problems);
  a.scales.resize(n_problems);
  a.labels.resize(n_problems * static_cast<std::size_t>(batch.n_items));
  solve(batch, options,
        cuda::ProblemOutputs{a.centroids.data(), a.labels.data(), cuda::LabelType::uint32,
                             a.costs.data(), a.lower_bounds.data(), a.scales.data(), &a.errors});
  return a;
}

// Normal weights, importances some decades apart.
Items ordinary_items(std::size_t n, std::uint64_t seed);

// Costs below this are made of terms that a double cannot hold to full precision.
constexpr double kFloor = 1e-280;

// Problems of `n` items of every family, each with other options, take `ks` in turn.
void check_families(std::size_t n, std::uint64_t seed, const std::vector<std::size_t>& ks,
                    Solve solve);

// Where no two clusterings cost the same, both find the same one.
void check_same_labels(const Items& items, bool quartic, std::size_t k, Solve solve);

}  // namespace wkmeans::testing
