// Prints one number for each of the kernels' results on fixed data. The test runs it once for every
// instruction set and compares what it prints.
#include <cstdio>
#include <memory>

#include "cpu/base/isa.h"
#include "cpu/cluster/cluster.h"
#include "cpu/entropy/entropy_constrained.h"
#include "cpu/prune/prune.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

constexpr std::size_t kItems = 70001;
constexpr std::size_t kCentroids = 11;

// FNV-1a.
class Digest {
public:
  template <class Value>
  void add(const Value* values, std::size_t count) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values);
    for (std::size_t i = 0; i < count * sizeof(Value); ++i)
      state_ = (state_ ^ bytes[i]) * 0x100000001b3u;
  }
  unsigned long long value() const { return state_; }

private:
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

template <class Value, class Draw>
std::vector<Value> drawn(std::uint64_t seed, Draw&& draw) {
  Random random(seed);
  std::vector<Value> values(kItems);
  for (Value& value : values) value = draw(random);
  return values;
}

void print_clustering(const char* name, const Problems& problems, Solver solver) {
  ClusterOptions options;
  options.solver.k = kCentroids;
  options.solver.solver = solver;
  options.solver.max_iter = 50;
  options.n_threads = 2;
  std::vector<double> centroids(kCentroids);
  std::vector<std::uint8_t> labels(kItems);
  double scale = 0.0;
  double cost = 0.0;
  double lower_bound = 0.0;
  std::int64_t n_iter = 0;
  cluster(problems, options,
          ClusterOutput<std::uint8_t>{centroids.data(), labels.data(), &scale, &cost, &lower_bound,
                                      &n_iter});
  Digest digest;
  digest.add(centroids.data(), centroids.size());
  digest.add(labels.data(), labels.size());
  digest.add(&cost, 1);
  digest.add(&lower_bound, 1);
  digest.add(&n_iter, 1);
  std::printf("%s %s %016llx\n", name, solver == Solver::lloyd ? "lloyd" : "optimal",
              digest.value());
}

// Rows of a few points, each solved by itself.
void print_rows(const char* name, const Problems& problems, std::size_t k) {
  const auto n_rows = static_cast<std::size_t>(problems.weights->n_problems());
  const auto n_items = n_rows * static_cast<std::size_t>(problems.weights->n_items());
  ClusterOptions options;
  options.solver.k = k;
  options.n_threads = 2;
  std::vector<double> centroids(n_rows * k);
  std::vector<std::uint8_t> labels(n_items);
  std::vector<double> scales(n_rows), costs(n_rows), lower_bounds(n_rows);
  std::vector<std::int64_t> n_iters(n_rows);
  cluster(problems, options,
          ClusterOutput<std::uint8_t>{centroids.data(), labels.data(), scales.data(), costs.data(),
                                      lower_bounds.data(), n_iters.data()});
  Digest digest;
  digest.add(centroids.data(), centroids.size());
  digest.add(labels.data(), labels.size());
  digest.add(costs.data(), n_rows);
  digest.add(lower_bounds.data(), n_rows);
  digest.add(n_iters.data(), n_rows);
  std::printf("%s %zu rows, k = %zu %016llx\n", name, n_rows, k, digest.value());
}

void print_pruning(const char* name, const Problems& problems) {
  const std::unique_ptr<bool[]> mask(new bool[kItems]);
  keep_largest({{problems, 0, mask.get()}}, kItems / 3, Parallel(2));
  Digest digest;
  digest.add(mask.get(), kItems);
  std::printf("%s prune %016llx\n", name, digest.value());
}

void print_entropy_constrained(const char* name, const Problems& problems) {
  EntropyCodebook start;
  for (std::size_t j = 0; j < kCentroids; ++j) {
    start.centroids.push_back(-2.0 + 0.4 * static_cast<double>(j));
    start.lengths.push_back(1.0 + 0.5 * static_cast<double>(j % 5));
  }
  std::vector<std::uint8_t> labels(kItems);
  const EntropySolution solution =
      entropy_constrained(problems, start, 1e-3, Zero::free, 20, Parallel(2), labels.data());
  Digest digest;
  digest.add(solution.centroids.data(), solution.centroids.size());
  digest.add(solution.counts.data(), solution.counts.size());
  digest.add(labels.data(), labels.size());
  digest.add(&solution.cost, 1);
  digest.add(&solution.n_iter, 1);
  std::printf("%s entropy-constrained %016llx\n", name, digest.value());
}

template <class Value, class DrawWeight>
void print_all(const char* name, DrawWeight&& draw_weight) {
  const auto weights = drawn<Value>(1, draw_weight);
  const auto importances =
      drawn<float>(2, [](Random& r) { return static_cast<float>(r.of_decades(-9, 3)); });
  const auto quartic_importances = drawn<double>(3, [](Random& r) { return r.of_decades(-9, 3); });
  const Operand w = contiguous(weights, "weights");
  const Operand i = contiguous(importances, "importance");
  const Operand h = contiguous(quartic_importances, "quartic_importance");
  for (const Problems& problems :
       {Problems{&w, nullptr, nullptr}, Problems{&w, &i, nullptr}, Problems{&w, &i, &h}}) {
    print_clustering(name, problems, Solver::lloyd);
    print_clustering(name, problems, Solver::optimal);
    print_pruning(name, problems);
    print_entropy_constrained(name, problems);
  }
  constexpr std::size_t kRows = 137;
  const Operand rows_w = contiguous(weights, "weights", kRows);
  const Operand rows_i = contiguous(importances, "importance", kRows);
  const Operand rows_h = contiguous(quartic_importances, "quartic_importance", kRows);
  for (const Problems& problems :
       {Problems{&rows_w, &rows_i, nullptr}, Problems{&rows_w, &rows_i, &rows_h}}) {
    for (const std::size_t k : {std::size_t{3}, std::size_t{8}, std::size_t{13}}) {
      print_rows(name, problems, k);
    }
  }
}

}  // namespace

int main() {
  std::fprintf(stderr, "%s\n", name_of(active_isa()));
  print_all<double>("float64", [](Random& r) { return r.normal(); });
  print_all<float>("float32", [](Random& r) { return static_cast<float>(r.normal()); });
  // Halves of exponent below 2: every pattern but the largest is a number.
  print_all<std::uint16_t>("float16",
                           [](Random& r) { return static_cast<std::uint16_t>(r.below(0x4000)); });
}
