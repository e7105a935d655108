#include "cpu/label/assign.h"

#include "support.h"

namespace wkmeans::bench {
namespace {

std::vector<double> quantiles(const std::vector<float>& values, std::size_t k) {
  std::vector<float> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> centroids;
  for (std::size_t j = 0; j < k; ++j) {
    centroids.push_back(static_cast<double>(sorted[(2 * j + 1) * sorted.size() / (2 * k)]));
  }
  return centroids;
}

void assignment(benchmark::State& state) {
  const Layer& layer = layer_of(state.range(0));
  const bool quartic = state.range(2) != 0;
  const Parallel parallel(static_cast<int>(state.range(3)));
  const Operand weights = operand_of(layer.weights, "weights");
  const Operand importance = operand_of(layer.importance, "importance");
  const Operand quartic_importance = operand_of(layer.quartic_importance, "quartic_importance");
  const Problems problems{&weights, &importance, quartic ? &quartic_importance : nullptr};
  const std::vector<double> centroids =
      quantiles(layer.weights, static_cast<std::size_t>(state.range(1)));
  std::vector<std::uint8_t> labels(layer.weights.size());
  std::vector<Bytes> inputs{bytes_of(layer.weights), bytes_of(layer.importance)};
  if (quartic) inputs.push_back(bytes_of(layer.quartic_importance));
  measure(state, inputs, parallel, [&] {
    benchmark::DoNotOptimize(assign(problems, 0, centroids, false, parallel, labels.data()));
  });
}

}  // namespace

BENCHMARK(assignment)
    ->ArgNames({"n", "k", "quartic", "threads"})
    ->ArgsProduct({{1 << 20, 10'000'000}, {16, 256}, {0, 1}, {1, all_cores()}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace wkmeans::bench
