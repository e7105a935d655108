#include "cpu/read/buckets.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "cpu/cluster/solve.h"
#include "cpu/label/assign.h"
#include "cpu/label/bucket_labels.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr std::int64_t kItems = 400000;
constexpr std::size_t kBuckets = 4096;

template <class Value>
struct Column {
  std::vector<Value> values;
  Operand operand;

  explicit Column(std::vector<Value> drawn)
      : values(std::move(drawn)),
        operand("weights", reinterpret_cast<const std::byte*>(values.data()),
                sizeof(Value) == 4 ? DType::float32 : DType::float64, {},
                {{static_cast<std::int64_t>(values.size()), sizeof(Value)}}) {}
};

template <class Value, class Draw>
Column<Value> drawn(Draw&& draw) {
  Random random(5);
  std::vector<Value> values(static_cast<std::size_t>(kItems));
  for (Value& value : values) value = static_cast<Value>(draw(random));
  return Column<Value>(std::move(values));
}

template <class Value>
void check_map(const Column<Value>& column) {
  const BucketMap map({&column.operand, nullptr, nullptr}, 0, kBuckets);
  const std::vector<BucketMap::Bounds> ranges = map.bounds();
  REQUIRE(ranges.size() == map.size());
  for (std::size_t b = 1; b < ranges.size(); ++b) {
    if (std::isfinite(ranges[b].high)) CHECK(ranges[b - 1].high < ranges[b].low + 1e-300);
  }
  const std::vector<double> weights(column.values.begin(), column.values.end());
  std::vector<BucketMap::Bucket> buckets(weights.size());
  map.find(weights.data(), static_cast<std::int64_t>(weights.size()), buckets.data());
  bool all_inside = true;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const BucketMap::Bounds& range = ranges[buckets[i]];
    all_inside &= range.low <= weights[i] && weights[i] <= range.high;
  }
  CHECK(all_inside);
}

std::optional<Solution> solved(const Operand& weights, std::size_t k) {
  SolverOptions options;
  options.k = k;
  Pyramid<QuadraticMoments> pyramid;
  PointCollector collector;
  const Problems problems{&weights, nullptr, nullptr};
  const Parallel parallel(2);
  const BucketedPoints buckets(problems, 0, bucket_count(problems.weights->n_items(), k), parallel);
  return solve_bucketed(buckets, options, pyramid, collector, parallel);
}

// Centroids between and inside buckets, several of them in one where there are many.
template <class Value>
void check_labels(const Column<Value>& column, std::size_t k) {
  const Problems problems{&column.operand, nullptr, nullptr};
  const Parallel parallel(2);
  const BucketedPoints buckets(problems, 0, kBuckets, parallel);
  Random random(6);
  std::vector<double> centroids;
  for (std::size_t j = 0; j < k; ++j) {
    const bool repeats = j > 0 && random.below(8) == 0;
    centroids.push_back(repeats ? centroids.back() : column.values[random.below(kItems)]);
  }
  std::sort(centroids.begin(), centroids.end());
  std::vector<std::uint16_t> expected(kItems), found(kItems);
  const double cost = assign(problems, 0, centroids, false, parallel, expected.data());
  CHECK(assign_in_buckets(buckets, centroids, parallel, found.data()) == cost);
  CHECK(found == expected);
}

}  // namespace

TEST_CASE("every weight lies in the range of its bucket") {
  check_map(drawn<float>([](Random& r) { return r.normal(); }));
  check_map(drawn<double>([](Random& r) { return 1e-3 * r.normal() / r.uniform(1e-3, 1.0); }));
  check_map(drawn<float>([](Random& r) { return r.below(2) ? 0.0 : -1e-40; }));
  check_map(drawn<double>([](Random&) { return std::numeric_limits<double>::max(); }));
}

TEST_CASE("buckets suffice for weights that spread, and say so where they do not") {
  const auto spread = drawn<float>([](Random& r) { return r.normal(); });
  CHECK(solved(spread.operand, 8).has_value());
  const auto clumped =
      drawn<double>([](Random& r) { return (r.below(2) ? 1.0 : -1.0) + 1e-12 * r.normal(); });
  CHECK(!solved(clumped.operand, 2).has_value());
}

TEST_CASE("labels looked up in buckets are the nearest centroids'") {
  for (const std::size_t k : {2, 16, 60, 3000}) {
    check_labels(drawn<float>([](Random& r) { return r.normal(); }), k);
    check_labels(drawn<double>([](Random& r) { return 1e-3 * r.normal() / r.uniform(1e-3, 1.0); }),
                 k);
    check_labels(drawn<float>([](Random& r) { return static_cast<double>(r.below(50)) - 25.0; }),
                 k);
  }
}
