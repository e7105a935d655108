#include "cpu/lagrangian/resting_blocks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

QuarticMoments of_mass(double mass) { return QuarticMoments::of(1.0, mass, 2.0 * mass); }

// Blocks without any groups: how much has been missed up to now, and up to when each was woken.
struct PlainBlocks {
  double missed = 0.0;
  std::vector<double> woken_at;
  std::vector<double> bounds{kInfinity};
  std::size_t first = 0;

  std::size_t newest() const { return bounds.size() - 1; }

  std::size_t next_within(double limit, std::size_t block) const {
    while (block < newest() && bounds[block] > limit) ++block;
    return block;
  }
};

// As a sweep uses them, `n_full` blocks in all, at most `widest` of them at once.
void check_blocks(std::size_t n_full, std::size_t widest, Random& random) {
  const std::size_t n_nodes = RestingBlocks::n_nodes(n_full + 1);
  std::vector<double> missed(QuarticFields::kCount * n_nodes), bounds(n_nodes);
  RestingBlocks blocks(n_full + 1, {missed.data(), bounds.data(), n_nodes});
  PlainBlocks plain;
  int n_wrong = 0;
  while (plain.newest() < n_full) {
    if (random.below(3) == 0) {
      blocks.begin_block();
      plain.woken_at.push_back(plain.missed);
      plain.bounds.push_back(kInfinity);
    }
    const double bound = random.uniform(0.0, 1.0);
    blocks.bound_newest(bound);
    plain.bounds.back() = bound;
    const double mass = static_cast<double>(1 + random.below(5));
    blocks.miss(of_mass(mass));
    plain.missed += mass;
    for (int wake = 0; wake < 2 && plain.first < plain.newest(); ++wake) {
      const std::size_t block = plain.first + random.below(plain.newest() - plain.first);
      const QuarticMoments taken = blocks.take_missed(block);
      const double expected = plain.missed - plain.woken_at[block];
      n_wrong += taken.quadratic.mass != expected || taken.quartic.mass != 2.0 * expected;
      plain.woken_at[block] = plain.missed;
      plain.bounds[block] = random.uniform(0.0, 1.0);
      blocks.set_bound(block, plain.bounds[block]);
    }
    const std::size_t from = plain.first + random.below(plain.newest() - plain.first + 1);
    const double limit = random.of_decades(-4, 0);
    n_wrong += blocks.next_within(limit, from) != plain.next_within(limit, from);
    while (plain.newest() - plain.first > widest) {
      blocks.drop_first();
      ++plain.first;
    }
    n_wrong += blocks.first() != plain.first || blocks.newest() != plain.newest();
  }
  CHECK(n_wrong == 0);
}

}  // namespace

TEST_CASE("blocks that rest in groups have missed what each has missed alone") {
  Random random(20);
  check_blocks(40, 40, random);
  check_blocks(9000, 9000, random);  // groups of groups of groups
  check_blocks(2000, 700, random);   // the first groups are left behind
  check_blocks(500, 5, random);
}
