#include "cpu/intervals/pyramid.h"
#include "math/centroid.h"
#include "support.h"

namespace wkmeans::bench {
namespace {

Points sorted_points(const Layer& layer) {
  Points points;
  points.weight.assign(layer.weights.begin(), layer.weights.end());
  points.importance.assign(layer.importance.begin(), layer.importance.end());
  points.quartic_importance.assign(layer.quartic_importance.begin(),
                                   layer.quartic_importance.end());
  std::sort(points.weight.as<double>().begin(), points.weight.as<double>().end());
  return points;
}

template <class Moments>
void pyramid_build(benchmark::State& state) {
  const Points points = sorted_points(layer_of(state.range(0)));
  const Parallel parallel(static_cast<int>(state.range(1)));
  std::vector<Bytes> inputs{bytes_of(points.weight), bytes_of(points.importance)};
  if (std::is_same_v<Moments, QuarticMoments>) {
    inputs.push_back(bytes_of(points.quartic_importance));
  }
  Pyramid<Moments> pyramid;
  measure(state, inputs, parallel, [&] { pyramid.build(points, parallel); });
}

// The cubic of Algorithm 2, for clusters of a few weights each.
void cubic_update(benchmark::State& state) {
  const Layer& layer = layer_of(state.range(0) * 8);
  std::vector<QuarticMoments> clusters(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < layer.weights.size(); ++i) {
    QuarticMoments& cluster = clusters[i / 8];
    cluster = merge(cluster, QuarticMoments::of(static_cast<double>(layer.weights[i]),
                                                static_cast<double>(layer.importance[i]),
                                                static_cast<double>(layer.quartic_importance[i])));
  }
  std::vector<double> centroids(clusters.size());
  measure(state, {bytes_of(clusters)}, Parallel(1), [&] {
    for (std::size_t i = 0; i < clusters.size(); ++i) centroids[i] = centre(clusters[i]).value();
    benchmark::ClobberMemory();
  });
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0));
}

}  // namespace

BENCHMARK_TEMPLATE(pyramid_build, QuadraticMoments)
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1 << 20, 10'000'000}, {1, all_cores()}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(pyramid_build, QuarticMoments)
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1 << 20, 10'000'000}, {1, all_cores()}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(cubic_update)->ArgName("clusters")->Arg(1 << 17)->Unit(benchmark::kMillisecond);

}  // namespace wkmeans::bench
