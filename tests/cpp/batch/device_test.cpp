#include <doctest/doctest.h>

#include "batch/answers.h"
#include "batch/device.h"

using namespace wkmeans;
using namespace wkmeans::testing;

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
      const cuda::Batch batch = batch_of(items, false, 3);
      for (const bool on_grid : {false, true}) {
        const cuda::BatchOptions options =
            batch_options(5, CentroidFormat::float16, on_grid, Zero::pinned);
        CHECK(answers(batch, options, solve_on_device) ==
              answers(batch, options, solve_as_one_team));
      }
    });
  }
}
