#include <doctest/doctest.h>

#include <array>
#include <cstring>

#include "cpu/cluster.h"
#include "cuda_small_team.h"
#include "reference.h"
#include "support.h"
#if defined(WKMEANS_TESTS_CUDA)
#include "cuda_small_device.h"
#endif

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// Counts the intervals looked at.
struct Counting : cuda::Anywhere {
  static inline std::int64_t n_intervals = 0;

  static Counting on(const CentroidGrid& /*grid*/) { return {}; }

  template <class Moments>
  double cost(const Moments& moments) const {
    ++n_intervals;
    return Anywhere::cost(moments);
  }
};

}  // namespace

template <>
struct cuda::StoredMoments<QuadraticMoments, Counting>
    : cuda::StoredMoments<QuadraticMoments, cuda::Anywhere> {};

namespace {

using Solve = void (*)(const cuda::SmallBatch&, const cuda::SmallOptions&,
                       const cuda::SmallOutputs&);

void solve_as_one_team(const cuda::SmallBatch& batch, const cuda::SmallOptions& options,
                       const cuda::SmallOutputs& outputs) {
  solve_on_host(batch, options, outputs);
}

struct Answers {
  std::vector<double> centroids, costs, lower_bounds, scales;
  std::vector<std::uint32_t> labels;
  cuda::SmallErrors errors;

  bool operator==(const Answers& other) const {
    return centroids == other.centroids && costs == other.costs &&
           lower_bounds == other.lower_bounds && scales == other.scales && labels == other.labels;
  }
};

template <class SolveBatch>
Answers answers(const cuda::SmallBatch& batch, const cuda::SmallOptions& options,
                SolveBatch&& solve) {
  const auto n_problems = static_cast<std::size_t>(batch.n_problems);
  Answers a;
  a.centroids.resize(n_problems * static_cast<std::size_t>(options.k));
  a.costs.resize(n_problems);
  a.lower_bounds.resize(n_problems);
  a.scales.resize(n_problems);
  a.labels.resize(n_problems * static_cast<std::size_t>(batch.n_items));
  solve(batch, options,
        cuda::SmallOutputs{a.centroids.data(), a.labels.data(), cuda::LabelType::uint32,
                           a.costs.data(), a.lower_bounds.data(), a.scales.data(), &a.errors});
  return a;
}

cuda::SmallOperand rows_of(const std::vector<double>& values, std::size_t n_problems = 1) {
  const auto n = static_cast<std::int64_t>(values.size() / n_problems);
  return {values.data(), cuda::ItemType::float64, n, 1};
}

cuda::SmallBatch batch_of(const Items& items, bool quartic, std::size_t n_problems = 1) {
  cuda::SmallBatch batch;
  batch.n_problems = static_cast<std::int64_t>(n_problems);
  batch.n_items = static_cast<std::int64_t>(items.size() / n_problems);
  batch.weights = rows_of(items.weight, n_problems);
  batch.importance = rows_of(items.importance, n_problems);
  if (quartic) batch.quartic_importance = rows_of(items.quartic_importance, n_problems);
  return batch;
}

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

// Costs below this are made of terms that a double cannot hold to full precision.
constexpr double kFloor = 1e-280;

void check_against_cpu(const Items& items, bool quartic, std::size_t k, CentroidFormat format,
                       bool optimal_in_format, Zero zero, Solve solve) {
  CAPTURE(quartic);
  CAPTURE(k);
  CAPTURE(static_cast<int>(format));
  CAPTURE(optimal_in_format);
  CAPTURE(zero == Zero::pinned);
  const Answers own =
      answers(batch_of(items, quartic), small_options(k, format, optimal_in_format, zero), solve);
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

// Where no two clusterings cost the same, both find the same one.
void check_same_labels(const Items& items, bool quartic, std::size_t k, Solve solve) {
  const Answers own = answers(batch_of(items, quartic),
                              small_options(k, CentroidFormat::float32, false, Zero::free), solve);
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

constexpr int kTeamSizes[] = {1, 3, 32, 96};

}  // namespace

TEST_CASE("a team combines groups whole and in one order") {
  for (const int size : kTeamSizes) {
    for (const int group : {1, 2, 7, 8, 9, 63, 65, 300}) {
      CAPTURE(size);
      CAPTURE(group);
      constexpr int kGroups = 3;
      std::vector<std::string> orders;
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        std::vector<std::string> values(kGroups * static_cast<std::size_t>(group));
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::to_string(i) + ";";
        HostTeam team(size, seed);
        cuda::reduce_groups(team, values.data(), group, kGroups,
                            [](std::string& sum, const std::string& other) { sum += other; });
        std::string order;
        for (std::size_t first = 0; first < values.size();
             first += static_cast<std::size_t>(group)) {
          const std::string& sum = values[first];
          CHECK(std::count(sum.begin(), sum.end(), ';') == group);
          CHECK(sum.find(std::to_string(first) + ";") == 0);
          order += sum + "|";
        }
        orders.push_back(order);
      }
      CHECK(orders[0] == orders[1]);
      CHECK(orders[0] == orders[2]);
    }
  }
}

TEST_CASE("a team compacts in order") {
  Random random(700);
  for (const int size : kTeamSizes) {
    for (const int count : {0, 1, 2, 31, 32, 33, 100, 1000}) {
      CAPTURE(size);
      CAPTURE(count);
      std::vector<char> kept(static_cast<std::size_t>(count));
      for (char& keep : kept) keep = random.below(3) == 0 ? 1 : 0;
      std::vector<int> expected;
      for (int i = 0; i < count; ++i) {
        if (kept[static_cast<std::size_t>(i)]) expected.push_back(i);
      }
      std::vector<int> found(expected.size(), -1);
      std::vector<int> counts(2 * static_cast<std::size_t>(size));
      HostTeam team(size, 1);
      const int total = cuda::compact(
          team, count, counts.data(), [&](int i) { return kept[static_cast<std::size_t>(i)] != 0; },
          [&](int i, int rank) { found.at(static_cast<std::size_t>(rank)) = i; });
      CHECK(total == static_cast<int>(expected.size()));
      CHECK(found == expected);
    }
  }
}

TEST_CASE("a team sorts any number of items") {
  Random random(701);
  for (const int size : kTeamSizes) {
    for (int count = 0; count <= 130; ++count) {
      CAPTURE(size);
      CAPTURE(count);
      std::vector<std::size_t> values(static_cast<std::size_t>(count));
      for (std::size_t& value : values) value = random.below(40);
      std::vector<std::size_t> expected = values;
      std::sort(expected.begin(), expected.end());
      HostTeam team(size, 1);
      cuda::sort(team, count, [&](int a, int b) {
        std::size_t& low = values.at(static_cast<std::size_t>(a));
        std::size_t& high = values.at(static_cast<std::size_t>(b));
        if (high < low) std::swap(low, high);
      });
      CHECK(values == expected);
    }
  }
}

TEST_CASE("blocks take every problem once") {
  for (const std::int64_t n_teams : {1, 2, 5, 13}) {
    const Items items = ordinary_items(66, 702);
    const cuda::SmallBatch batch = batch_of(items, false, 11);
    const cuda::SmallOptions options = small_options(2, CentroidFormat::float64, false, Zero::free);
    HostRun run;
    run.n_teams = n_teams;
    const Answers own = answers(batch, options, [&](const auto& b, const auto& o, const auto& out) {
      solve_on_host(b, o, out, run);
    });
    for (std::size_t problem = 0; problem < 11; ++problem) {
      Items alone;
      const auto first = static_cast<std::ptrdiff_t>(problem * 6);
      alone.weight.assign(items.weight.begin() + first, items.weight.begin() + first + 6);
      alone.importance.assign(items.importance.begin() + first,
                              items.importance.begin() + first + 6);
      const Answers expected = answers(batch_of(alone, false), options, solve_as_one_team);
      CHECK(own.costs[problem] == expected.costs[0]);
      CHECK(std::equal(expected.labels.begin(), expected.labels.end(), own.labels.begin() + first));
    }
  }
}

namespace {

template <class Moments, class Placement>
void check_intervals(const Points& points, const Placement& placement,
                     const wkmeans::Placement& cpu_placement) {
  Points copy = points;
  const int n = static_cast<int>(points.size());
  const cuda::SmallPoints small{
      copy.weight.as<double>().data(), copy.importance.as<double>().data(),
      points.quartic() ? copy.quartic_importance.as<double>().data() : nullptr, n};
  using Intervals = cuda::SmallIntervals<Moments, Placement>;
  const auto n_levels = static_cast<std::size_t>(cuda::levels_of(n));
  std::vector<double> halves(n_levels * Intervals::Stored::kCount * points.size(), NAN);
  const auto n_blocks = static_cast<std::size_t>(cuda::blocks_of(n));
  std::vector<Moments> node(n_blocks), before(n_blocks), after(n_blocks);
  Intervals intervals(small, placement, halves.data());
  HostTeam team(7, 1);
  intervals.build(team, {node.data(), before.data(), after.data()});
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  for (int end = 1; end <= n; ++end) {
    int expected = end;
    intervals.visit_starts(end, end - 1, 0, [&](int p, double cost) {
      const double reference = cpu_placement.cost(
          pyramid.range(static_cast<std::size_t>(p), static_cast<std::size_t>(end)));
      const bool is_next = p == --expected;
      const bool is_right = close(cost, reference, 1e-11 * reference + kFloor);
      if (!is_next || !is_right) FAIL_CHECK("points " << p << " to " << end << ": " << cost);
      return true;
    });
    CHECK(expected == 0);
  }
}

}  // namespace

TEST_CASE("any interval's cost is one merge away") {
  for (const std::size_t n : {std::size_t{1}, std::size_t{8}, std::size_t{9}, std::size_t{100}}) {
    for_each_family(n, 703 + n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      const Points quadratic = sorted_points(items, false);
      const Points quartic = sorted_points(items, true);
      check_intervals<QuadraticMoments>(quadratic, cuda::Anywhere{}, Placement());
      check_intervals<QuarticMoments>(quartic, cuda::Anywhere{}, Placement());
      const Placement halves = placement_of(CentroidFormat::float16, 1.0);
      check_intervals<QuadraticMoments>(quadratic, cuda::OnGrid{*halves.grid()}, halves);
      check_intervals<QuarticMoments>(quartic, cuda::OnGrid{*halves.grid()}, halves);
    });
  }
}

namespace {

void check_families(std::size_t n, std::uint64_t seed, std::vector<std::size_t> ks, Solve solve) {
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

}  // namespace

TEST_CASE("a team finds what the CPU finds") {
  check_families(20, 704, {1, 2, 3, 7, 19, 20, 25}, solve_as_one_team);
  check_families(130, 705, {2, 5, 8, 64, 129}, solve_as_one_team);
  check_families(517, 706, {3, 8, 16}, solve_as_one_team);
}

TEST_CASE("a team labels as the CPU does") {
  for (std::uint64_t seed = 707; seed < 717; ++seed) {
    CAPTURE(seed);
    check_same_labels(ordinary_items(512, seed), false, 8, solve_as_one_team);
    check_same_labels(ordinary_items(512, seed), true, 8, solve_as_one_team);
  }
}

TEST_CASE("a team solves the largest of small problems") {
  check_same_labels(ordinary_items(4096, 717), false, 16, solve_as_one_team);
  check_same_labels(ordinary_items(1000, 718), true, 256, solve_as_one_team);
  check_same_labels(ordinary_items(16384, 719), false, 5, solve_as_one_team);
}

TEST_CASE("a team looks at few intervals, however weights and importances are spread") {
  for_each_family(512, 725, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    constexpr std::int64_t kClusters = 8;
    Counting::n_intervals = 0;
    answers(batch_of(items, false),
            small_options(kClusters, CentroidFormat::float64, false, Zero::free),
            [](const auto& batch, const auto& options, const auto& outputs) {
              run_on_host<QuadraticMoments, Counting>(batch, options, outputs, {});
            });
    // k n log2 n when halving, half as many again where three rows close a gap.
    CHECK(Counting::n_intervals <= kClusters * 512 * 9 * 3 / 2);
  });
}

TEST_CASE("the order of lanes and the place of memory show in no bit") {
  for_each_family(150, 720, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    const cuda::SmallBatch batch = batch_of(items, true);
    const cuda::SmallOptions options =
        small_options(9, CentroidFormat::float16, true, Zero::pinned);
    const Answers expected = answers(batch, options, solve_as_one_team);
    for (const std::size_t shared_bytes : {0, 4096, 1 << 20}) {
      HostRun run;
      run.seed = 2 + shared_bytes;
      run.shared_bytes = shared_bytes;
      CHECK(expected == answers(batch, options, [&](const auto& b, const auto& o, const auto& out) {
              solve_on_host(b, o, out, run);
            }));
    }
  });
}

TEST_CASE("a team names the first items that nobody can cluster, and solves the other problems") {
  constexpr std::size_t kProblems = 4;
  constexpr std::size_t kItems = 50;
  const Items sound = ordinary_items(kProblems * kItems, 721);
  const cuda::SmallOptions options = small_options(3, CentroidFormat::float64, false, Zero::free);
  const Answers expected = answers(batch_of(sound, true, kProblems), options, solve_as_one_team);
  CHECK(expected.errors.weight == cuda::SmallErrors::kNone);
  CHECK(expected.errors.importance == cuda::SmallErrors::kNone);
  CHECK(expected.errors.quartic_importance == cuda::SmallErrors::kNone);
  Items bad = sound;
  bad.weight[70] = INFINITY;
  bad.weight[60] = NAN;
  bad.importance[80] = -1e-300;
  bad.importance[90] = NAN;
  bad.quartic_importance[130] = INFINITY;
  const Answers own = answers(batch_of(bad, true, kProblems), options, solve_as_one_team);
  CHECK(own.errors.weight == 60);
  CHECK(own.errors.importance == 80);
  CHECK(own.errors.quartic_importance == 130);
  for (const std::size_t problem : {0, 3}) {
    CHECK(own.costs[problem] == expected.costs[problem]);
    CHECK(own.lower_bounds[problem] == expected.lower_bounds[problem]);
  }
}

TEST_CASE("importances that are zero throughout count one each") {
  Items items = ordinary_items(100, 722);
  items.importance.assign(100, 0.0);
  items.quartic_importance.assign(100, 0.0);
  Items unit = items;
  unit.importance.assign(100, 1.0);
  const cuda::SmallOptions options = small_options(4, CentroidFormat::float64, false, Zero::free);
  const Answers expected = answers(batch_of(unit, false), options, solve_as_one_team);
  CHECK(expected == answers(batch_of(items, false), options, solve_as_one_team));
  CHECK(expected == answers(batch_of(items, true), options, solve_as_one_team));
  cuda::SmallBatch absent = batch_of(items, false);
  absent.importance = {};
  CHECK(expected == answers(absent, options, solve_as_one_team));
}

TEST_CASE("fewer values than centroids cost nothing, and surplus centroids name no label") {
  Items items;
  for (int i = 0; i < 40; ++i) {
    items.weight.push_back(i % 3 - 1.0);
    items.importance.push_back(1.0);
  }
  const Answers own =
      answers(batch_of(items, false), small_options(5, CentroidFormat::float32, false, Zero::free),
              solve_as_one_team);
  CHECK(own.centroids == std::vector<double>{-1.0, 0.0, 1.0, 1.0, 1.0});
  CHECK(own.costs[0] == 0.0);
  CHECK(own.lower_bounds[0] == 0.0);
  for (std::size_t i = 0; i < 40; ++i) CHECK(own.labels[i] == i % 3);
}

TEST_CASE("items of every type are read where they lie") {
  constexpr std::size_t kItems = 30;
  Random random(723);
  // Three problems side by side, an item a row; one row of importances for all of them.
  std::vector<float> singles(3 * kItems);
  std::vector<std::uint16_t> halves(3 * kItems), bfloats(3 * kItems);
  for (std::size_t i = 0; i < singles.size(); ++i) {
    halves[i] = static_cast<std::uint16_t>(random.below(0x7c00) | (random.below(2) << 15));
    bfloats[i] = static_cast<std::uint16_t>(0x3f00 + random.below(0x100));
    singles[i] = static_cast<float>(random.normal());
  }
  std::vector<double> importance(kItems);
  for (double& value : importance) value = random.uniform(0.0, 1.0);
  const struct {
    const void* values;
    cuda::ItemType type;
    double (*value)(const void*, std::size_t);
  } kinds[] = {
      {halves.data(), cuda::ItemType::float16,
       [](const void* values, std::size_t i) {
         return static_cast<double>(float16_to_float(static_cast<const std::uint16_t*>(values)[i]));
       }},
      {bfloats.data(), cuda::ItemType::bfloat16,
       [](const void* values, std::size_t i) {
         return static_cast<double>(
             bfloat16_to_float(static_cast<const std::uint16_t*>(values)[i]));
       }},
      {singles.data(), cuda::ItemType::float32,
       [](const void* values, std::size_t i) {
         return static_cast<double>(static_cast<const float*>(values)[i]);
       }},
  };
  const cuda::SmallOptions options = small_options(4, CentroidFormat::float32, false, Zero::free);
  for (const auto& kind : kinds) {
    Items items;
    for (std::size_t problem = 0; problem < 3; ++problem) {
      for (std::size_t i = 0; i < kItems; ++i) {
        items.weight.push_back(kind.value(kind.values, 3 * i + problem));
        items.importance.push_back(importance[i]);
      }
    }
    cuda::SmallBatch strided;
    strided.n_problems = 3;
    strided.n_items = kItems;
    strided.weights = {kind.values, kind.type, 1, 3};
    strided.importance = {importance.data(), cuda::ItemType::float64, 0, 1};
    CHECK(answers(batch_of(items, false, 3), options, solve_as_one_team) ==
          answers(strided, options, solve_as_one_team));
  }
}

#if defined(WKMEANS_TESTS_CUDA)

TEST_CASE("a device finds what the CPU finds") {
  if (!has_device()) {
    MESSAGE("skipped: no CUDA device");
    return;
  }
  check_families(20, 704, {1, 2, 3, 7, 19, 20, 25}, solve_on_device);
  check_families(130, 705, {2, 5, 8, 64, 129}, solve_on_device);
  check_families(517, 706, {3, 8, 16}, solve_on_device);
  check_same_labels(ordinary_items(4096, 717), false, 16, solve_on_device);
  check_same_labels(ordinary_items(1000, 718), true, 256, solve_on_device);
  check_same_labels(ordinary_items(16384, 719), false, 5, solve_on_device);
}

// Roots are the one thing that the device's library takes differently.
TEST_CASE("a device and the host that plays it agree in every bit of a quadratic problem") {
  if (!has_device()) {
    MESSAGE("skipped: no CUDA device");
    return;
  }
  for (const std::size_t n : {7, 64, 300}) {
    for_each_family(3 * n, 724, [n](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      const cuda::SmallBatch batch = batch_of(items, false, 3);
      for (const bool on_grid : {false, true}) {
        const cuda::SmallOptions options =
            small_options(5, CentroidFormat::float16, on_grid, Zero::pinned);
        CHECK(answers(batch, options, solve_on_device) ==
              answers(batch, options, solve_as_one_team));
      }
    });
  }
}

#endif
