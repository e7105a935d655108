#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "cpu/intervals/format.h"
#include "cuda/batch/solve.h"

// The device's solver of small problems played on the host.
namespace wkmeans::testing {

// Runs the lanes of each phase one after another, in another order every time: a barrier that is
// missing shows as results that depend on the order.
class HostTeam {
public:
  HostTeam(int size, std::uint64_t seed) : lanes_(static_cast<std::size_t>(size)), engine_(seed) {
    std::iota(lanes_.begin(), lanes_.end(), 0);
  }

  int size() const { return static_cast<int>(lanes_.size()); }
  std::int64_t n_phases() const { return n_phases_; }

  template <class Work>
  void phase(Work&& work) {
    std::shuffle(lanes_.begin(), lanes_.end(), engine_);
    for (const int lane : lanes_) work(lane);
    ++n_phases_;
  }

  static void lower(std::uint64_t* at, std::uint64_t value) { *at = std::min(*at, value); }

private:
  std::vector<int> lanes_;
  std::mt19937_64 engine_;
  std::int64_t n_phases_ = 0;
};

// How the host plays the device.
struct HostRun {
  std::int64_t n_teams = 1;
  std::size_t shared_bytes = 232448;
  std::uint64_t seed = 1;
};

// Teams that share the problems of a batch as blocks do; returns the number of phases of all of
// them.
template <class Moments, class Placement>
std::int64_t run_on_host(const cuda::Batch& batch, const cuda::BatchOptions& options,
                         const cuda::ProblemOutputs& outputs, const HostRun& run) {
  const cuda::TeamShape shape = cuda::shape_of(batch, options);
  cuda::TeamCarver counting(nullptr, run.shared_bytes, nullptr);
  const cuda::TeamScratch<Moments, Placement> unplaced(shape, counting);
  std::int64_t n_phases = 0;
  for (std::int64_t t = 0; t < run.n_teams; ++t) {
    // Garbage to begin with, as on a device, and just as much as was asked for.
    std::vector<std::byte> shared(counting.shared_used(), std::byte{0xa5});
    std::vector<std::byte> global(counting.global_used(), std::byte{0x5a});
    cuda::TeamCarver carver(shared.data(), shared.size(), global.data());
    const cuda::TeamScratch<Moments, Placement> scratch(shape, carver);
    HostTeam team(shape.n_lanes, run.seed + static_cast<std::uint64_t>(t));
    cuda::TeamSolver<HostTeam, Moments, Placement> solver(team, batch, options, outputs, scratch);
    solver.solve_share(t, run.n_teams, batch.n_problems);
    n_phases += team.n_phases();
  }
  return n_phases;
}

cuda::BatchOptions batch_options(std::size_t k, CentroidFormat format, bool optimal_in_format,
                                 Zero zero);

// By the moments and the placement that the problems and the options call for.
void solve_on_host(const cuda::Batch& batch, const cuda::BatchOptions& options,
                   const cuda::ProblemOutputs& outputs, const HostRun& run = {});

}  // namespace wkmeans::testing
