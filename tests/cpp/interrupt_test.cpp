#include "cpu/base/interrupt.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <type_traits>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/lagrangian/sweep.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr std::chrono::milliseconds kAlways{0};

int n_asked = 0;
int n_patience = 0;  // how often the answer is no

std::thread::id only_asked_by;

bool ask() {
  only_asked_by = std::this_thread::get_id();
  return n_asked++ >= n_patience;
}

void be_patient(int n) {
  n_asked = 0;
  n_patience = n;
}

}  // namespace

TEST_CASE("without a caller who may ask nothing is stopped") {
  CHECK(Interruption::current() == nullptr);
  CHECK_NOTHROW(stop_if_interrupted());
  CHECK_NOTHROW(stop_if_interrupted_after(std::size_t{1} << 40));
}

TEST_CASE("work stops once the caller is asked and wants it, and goes on wanting it") {
  be_patient(2);
  {
    Interruption interruption(&ask, kAlways);
    CHECK(Interruption::current() == &interruption);
    CHECK_NOTHROW(stop_if_interrupted());
    CHECK_NOTHROW(stop_if_interrupted());
    CHECK(!interruption.is_heard());
    CHECK_THROWS_AS(stop_if_interrupted(), Interrupted);
    CHECK_THROWS_AS(stop_if_interrupted(), Interrupted);
    CHECK(interruption.is_heard());
    CHECK(n_asked == 3);
  }
  CHECK_NOTHROW(stop_if_interrupted());
}

TEST_CASE("the caller is not asked again before the interval is over") {
  be_patient(1000);
  Interruption interruption(&ask, std::chrono::hours(1));
  for (int i = 0; i < 100; ++i) stop_if_interrupted();
  CHECK(n_asked == 0);
}

TEST_CASE("short steps are looked at once they add up") {
  be_patient(1 << 30);
  Interruption interruption(&ask, kAlways);
  stop_if_interrupted();
  n_asked = 0;
  for (int i = 0; i < 1000; ++i) stop_if_interrupted_after(100);
  CHECK(n_asked >= 2);
  CHECK(n_asked <= 20);
}

TEST_CASE("helpers stop where their caller wants it, and leave the asking to it") {
  for (const int n_threads : kThreadCounts) {
    CAPTURE(n_threads);
    be_patient(5);
    const Interruption interruption(&ask, kAlways);
    const auto run = [&] { Parallel(n_threads).run(std::int64_t{1} << 40, [](std::int64_t) {}); };
    CHECK_THROWS_AS(run(), Interrupted);
    CHECK(interruption.is_heard());
    CHECK((only_asked_by == std::this_thread::get_id()));
  }
}

TEST_CASE("a caller that waits for its helpers still asks") {
  be_patient(0);
  const Interruption interruption(&ask, kAlways);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> helper_works{false};
  const auto run = [&] {
    Parallel(2).run(2, [&](std::int64_t) {
      if (std::this_thread::get_id() == caller) {
        while (!helper_works) std::this_thread::yield();
        return;
      }
      helper_works = true;
      while (true) stop_if_interrupted();
    });
  };
  CHECK_THROWS_AS(run(), Interrupted);
}

TEST_CASE("a sweep looks every few ten thousand intervals") {
  Random random(3);
  std::vector<QuarticMoments> quartic;
  std::vector<QuadraticMoments> quadratic;
  for (int i = 0; i < 20000; ++i) {
    quartic.push_back(QuarticMoments::of(0.01 * i, random.uniform(0.5, 1.0), 1.0));
    quadratic.push_back(QuadraticMoments::part_of(quartic.back()));
  }
  const auto check = [](const auto& cells) {
    using Moments = typename std::decay_t<decltype(cells)>::value_type;
    constexpr double kMultiplier = 800.0;  // edges of some 400 cells
    be_patient(1 << 30);
    Interruption interruption(&ask, kAlways);
    Allowance allowance(1e12);
    Sweeper<Moments> sweeper(Placement(), allowance);
    sweeper.run(cells, kMultiplier, {});
    CHECK(n_asked > 20);
    be_patient(10);
    CHECK_THROWS_AS(sweeper.run(cells, kMultiplier, {}), Interrupted);
  };
  check(quadratic);
  check(quartic);
}
