#include "cpu/prune/prune.h"

#include <memory>

#include "support.h"

namespace wkmeans::bench {
namespace {

void top_k(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const Layer& layer = layer_of(n);
  const bool weighted = state.range(2) != 0;
  const Parallel parallel(static_cast<int>(state.range(3)));
  const Operand weights = operand_of(layer.weights, "weights");
  const Operand importance = operand_of(layer.importance, "importance");
  const Operand quartic_importance = operand_of(layer.quartic_importance, "quartic_importance");
  const Problems problems{&weights, weighted ? &importance : nullptr,
                          weighted ? &quartic_importance : nullptr};
  const std::unique_ptr<bool[]> mask(new bool[static_cast<std::size_t>(n)]);
  std::vector<Bytes> inputs{bytes_of(layer.weights)};
  if (weighted) {
    inputs.push_back(bytes_of(layer.importance));
    inputs.push_back(bytes_of(layer.quartic_importance));
  }
  measure(state, inputs, parallel, [&] {
    keep_largest({{problems, 0, mask.get()}}, n * state.range(1) / 100, parallel);
    benchmark::ClobberMemory();
  });
}

}  // namespace

BENCHMARK(top_k)
    ->ArgNames({"n", "percent", "weighted", "threads"})
    ->ArgsProduct({{1 << 20, 10'000'000}, {10, 50}, {0, 1}, {1, all_cores()}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace wkmeans::bench
