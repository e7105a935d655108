#include "cpu/base/parallel.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

TEST_CASE("every task runs once, on any number of threads") {
  for (const int n_threads : {-1, 0, 1, 2, 3, 7, 64}) {
    for (const std::int64_t n_tasks : {0, 1, 2, 7, 1000}) {
      CAPTURE(n_threads);
      CAPTURE(n_tasks);
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(n_tasks));
      Parallel(n_threads).run(n_tasks,
                              [&](std::int64_t task) { ++runs[static_cast<std::size_t>(task)]; });
      for (const auto& count : runs) CHECK(count == 1);
    }
  }
}

TEST_CASE("each thread makes one worker of its own") {
  for (const int n_threads : kThreadCounts) {
    std::atomic<int> n_workers{0};
    std::atomic<int> n_tasks{0};
    Parallel(n_threads).run_with_workers(1000, [&] {
      ++n_workers;
      return [&, tasks_of_this_worker = 0](std::int64_t) mutable {
        ++tasks_of_this_worker;
        n_tasks += tasks_of_this_worker > 0;
      };
    });
    CHECK(n_workers >= 1);
    CHECK(n_workers <= n_threads);
    CHECK(n_tasks == 1000);
  }
}

TEST_CASE("of the tasks that fail, the error of the smallest comes out") {
  Random random(5);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t n_tasks = 100;
    std::vector<bool> fails(n_tasks);
    for (int i = 0; i < 5; ++i) fails[random.below(n_tasks)] = true;
    const auto smallest = std::find(fails.begin(), fails.end(), true) - fails.begin();
    const auto task = [&](std::int64_t number) {
      if (fails[static_cast<std::size_t>(number)]) throw std::runtime_error(std::to_string(number));
    };
    const Parallel parallel(kThreadCounts[round % 4]);
    CHECK_THROWS_WITH_AS(parallel.run(n_tasks, task), std::to_string(smallest).c_str(),
                         std::runtime_error);
  }
}

TEST_CASE("an error in making a worker comes out") {
  const auto make_worker = []() -> void (*)(std::int64_t) { throw std::bad_alloc(); };
  for (const int n_threads : kThreadCounts) {
    CHECK_THROWS_AS(Parallel(n_threads).run_with_workers(10, make_worker), std::bad_alloc);
  }
}

TEST_CASE("chunks cover a range without gaps, whatever the number of threads") {
  for (const std::int64_t n :
       {std::int64_t{0}, std::int64_t{1}, kChunk - 1, kChunk, kChunk + 1, 5 * kChunk + 3}) {
    CAPTURE(n);
    std::vector<std::int64_t> ends(static_cast<std::size_t>(chunk_count(n)) + 1);
    for_each_chunk(Parallel(3), n, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
      CHECK(begin == chunk * kChunk);
      ends[static_cast<std::size_t>(chunk) + 1] = end;
    });
    for (std::size_t c = 1; c < ends.size(); ++c) {
      CHECK(ends[c] == std::min(n, static_cast<std::int64_t>(c) * kChunk));
    }
    CHECK(ends.back() == n);
  }
}
