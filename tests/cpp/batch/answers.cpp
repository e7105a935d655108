#include "batch/answers.h"

#include <doctest/doctest.h>

#include <array>

#include "cpu/cluster/cluster.h"
#include "reference.h"

namespace wkmeans::testing {
namespace {

Answers answers_of_cpu(const Items& items, bool quartic, std::size_t k, CentroidFormat format,
                       bool optimal_in_format, Zero zero) {
  ClusterOptions options;
  options.solver.k = k;
  options.solver.format = format;
  options.solver.optimal_in_format = optimal_in_format;
  options.zero = zero;
  Answers a;
  a.centroids.resize(k);
  a.costs.resize(1);
  a.lower_bounds.resize(1);
  a.scales.resize(1);
  a.labels.resize(items.size());
  std::int64_t n_iter = 0;
  const ItemProblems problems(items, quartic);
  cluster(problems.view(), options,
          ClusterOutput<std::uint32_t>{a.centroids.data(), a.labels.data(), a.scales.data(),
                                       a.costs.data(), a.lower_bounds.data(), &n_iter});
  return a;
}

void check_against_cpu(const Items& items, bool quartic, std::size_t k, CentroidFormat format,
                       bool optimal_in_format, Zero zero, Solve solve) {
  CAPTURE(quartic);
  CAPTURE(k);
  CAPTURE(static_cast<int>(format));
  CAPTURE(optimal_in_format);
  CAPTURE(zero == Zero::pinned);
  const Answers own =
      answers(batch_of(items, quartic), batch_options(k, format, optimal_in_format, zero), solve);
  const Answers cpu = answers_of_cpu(items, quartic, k, format, optimal_in_format, zero);
  const double cost = own.costs[0];
  const double cpu_cost = cpu.costs[0];
  const double tolerance = 1e-9 * cpu_cost + kFloor;
  // Rounded centroids beside a zero are no promise to either.
  const bool promised =
      optimal_in_format || format == CentroidFormat::float64 || zero == Zero::free;
  if (promised) CHECK(close(cost, cpu_cost, tolerance));
  CHECK(own.lower_bounds[0] <= cpu_cost);
  CHECK(own.lower_bounds[0] <= cost);
  CHECK(cpu.lower_bounds[0] <= cost);
  CHECK(own.lower_bounds[0] >= cpu.lower_bounds[0] - tolerance);
  CHECK(own.scales == cpu.scales);
  CHECK(std::is_sorted(own.centroids.begin(), own.centroids.end()));
  if (zero == Zero::pinned) CHECK(std::count(own.centroids.begin(), own.centroids.end(), 0.0) > 0);
  if (own.centroids == cpu.centroids) CHECK(own.labels == cpu.labels);
}

}  // namespace

void check_families(std::size_t n, std::uint64_t seed, const std::vector<std::size_t>& ks,
                    Solve solve) {
  constexpr std::array<CentroidFormat, 4> kFormats = {
      CentroidFormat::float32, CentroidFormat::float16, CentroidFormat::float8_e4m3fn,
      CentroidFormat::int8};
  std::size_t turn = 0;
  for_each_family(n, seed, [&](const Items& items, const std::string& name) {
    CAPTURE(n);
    CAPTURE(name);
    ++turn;
    const std::size_t k = ks[turn % ks.size()];
    const bool quartic = turn % 2 == 0;
    const CentroidFormat format = kFormats[turn / 2 % kFormats.size()];
    const Zero zero = turn % 3 == 0 ? Zero::pinned : Zero::free;
    check_against_cpu(items, quartic, k, CentroidFormat::float64, false, Zero::free, solve);
    check_against_cpu(items, quartic, k, format, true, zero, solve);
    check_against_cpu(items, quartic, k, format, false, zero, solve);
    check_against_cpu(items, quartic, k, CentroidFormat::float64, false, Zero::pinned, solve);
  });
}

void check_same_labels(const Items& items, bool quartic, std::size_t k, Solve solve) {
  const Answers own = answers(batch_of(items, quartic),
                              batch_options(k, CentroidFormat::float32, false, Zero::free), solve);
  const Answers cpu = answers_of_cpu(items, quartic, k, CentroidFormat::float32, false, Zero::free);
  CHECK(own.labels == cpu.labels);
  CHECK(own.centroids == cpu.centroids);
}

Items ordinary_items(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  Items items;
  for (std::size_t i = 0; i < n; ++i) {
    items.weight.push_back(random.normal());
    items.importance.push_back(std::exp(3.0 * random.normal() - 8.0));
    items.quartic_importance.push_back(std::exp(3.0 * random.normal() - 4.0));
  }
  return items;
}

}  // namespace wkmeans::testing
