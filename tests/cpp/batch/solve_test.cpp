// The answers of a team.
#include <doctest/doctest.h>

#include "batch/answers.h"

using namespace wkmeans;
using namespace wkmeans::testing;

TEST_CASE("blocks take every problem once") {
  for (const std::int64_t n_teams : {1, 2, 5, 13}) {
    const Items items = ordinary_items(66, 702);
    const cuda::Batch batch = batch_of(items, false, 11);
    const cuda::BatchOptions options = batch_options(2, CentroidFormat::float64, false, Zero::free);
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

TEST_CASE("the order of lanes and the place of memory show in no bit") {
  for_each_family(150, 720, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    const cuda::Batch batch = batch_of(items, true);
    const cuda::BatchOptions options =
        batch_options(9, CentroidFormat::float16, true, Zero::pinned);
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
