#include "cuda/device/tiles.h"

#include <doctest/doctest.h>

#include <vector>

using namespace wkmeans::cuda;

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
