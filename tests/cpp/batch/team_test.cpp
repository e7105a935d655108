// How lanes work together.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "batch/host_team.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

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
