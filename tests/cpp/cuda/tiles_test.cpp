#include "cuda/device/tiles.h"

#include <doctest/doctest.h>

#include <vector>

#include "host_backend.h"

namespace wkmeans::cuda::testing {

TEST_CASE("every item belongs to one step of one thread of one tile") {
  const std::uint64_t n = 3 * kTile + 17;
  std::vector<int> seen(tile_count(n) * kTile, 0);
  for (std::uint64_t tile = 0; tile < tile_count(n); ++tile) {
    for (int thread = 0; thread < kTileThreads; ++thread) {
      for (int step = 0; step < kItemsPerThread; ++step) ++seen[item_of(tile, thread, step)];
    }
  }
  CHECK(seen == std::vector<int>(seen.size(), 1));
  CHECK(tile_count(n) == 4);
  CHECK(tile_count(kTile) == 1);
}

TEST_CASE("a tile's sum holds each item below n once") {
  HostBackend backend;
  for (const std::uint64_t n : {std::uint64_t{1}, kTile - 1, kTile, 2 * kTile + 5}) {
    const auto sums = backend.tile_sums(
        n, [](std::uint64_t i, const double* table) { return static_cast<double>(i) + table[0]; },
        {1.0});
    double total = 0.0;
    for (const double sum : sums) total += sum;
    CHECK(total == 0.5 * static_cast<double>(n) * static_cast<double>(n + 1));
    CHECK(sums.size() == tile_count(n));
  }
}

TEST_CASE("counters carry, slices divide the bins") {
  HostBackend backend;
  const std::uint64_t n = 10 * kCarry + 3;
  const std::uint32_t n_bins = 2 * kBinsPerSlice - 6;
  const auto counts = backend.histogram(n, n_bins, [&](std::uint64_t i) {
    return i % 4 == 0 ? kNoBin : i % 4 == 1 ? n_bins - 1 : static_cast<std::uint32_t>(i % 2);
  });
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts) total += count;
  CHECK(counts.size() == n_bins);
  CHECK(counts[0] == n / 4 + 1);           // i % 4 == 2
  CHECK(counts[1] == n / 4);               // i % 4 == 3
  CHECK(counts[n_bins - 1] == n / 4 + 1);  // i % 4 == 1
  CHECK(total == counts[0] + counts[1] + counts[n_bins - 1]);
  CHECK(counts[1] > 2 * kCarry);
}

}  // namespace wkmeans::cuda::testing
