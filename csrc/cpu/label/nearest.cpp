#include "cpu/label/nearest.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/base/items.h"
#include "cpu/base/parallel.h"
#include "cpu/label/assign.h"

namespace wkmeans {
namespace {

template <class Real>
void check_weights(const Problems& problems, std::int64_t problem, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  parallel.run_with_workers(chunk_count(n), [&] {
    return [&, reader = ItemReader<Real>{}](std::int64_t chunk) mutable {
      const std::int64_t end = std::min(n, (chunk + 1) * kChunk);
      for (std::int64_t begin = chunk * kChunk; begin < end; begin += kItemBlock)
        check_items(problems,
                    reader.read(problems, problem, begin, std::min(kItemBlock, end - begin)));
    };
  });
}

}  // namespace

template <class Label>
void label_nearest(const Problems& problems, const double* centroids, std::size_t k, int n_threads,
                   Label* labels) {
  const Problems weights{problems.weights, nullptr, nullptr};
  const std::int64_t n = weights.weights->n_items();
  const std::int64_t n_problems = weights.weights->n_problems();
  const auto label_one = [&](std::int64_t problem, const Parallel& parallel) {
    with_real(weights,
              [&](auto real) { check_weights<decltype(real)>(weights, problem, parallel); });
    const double* own = centroids + problem * static_cast<std::int64_t>(k);
    assign(weights, problem, std::vector<double>(own, own + k), false, parallel,
           labels + problem * n);
  };
  // Many problems go one to a thread, few large ones one after another on all threads.
  if (n_problems >= n_threads || n < kChunk) {
    Parallel(n_threads).run(n_problems,
                            [&](std::int64_t problem) { label_one(problem, Parallel(1)); });
  } else {
    for (std::int64_t problem = 0; problem < n_problems; ++problem)
      label_one(problem, Parallel(n_threads));
  }
}

template void label_nearest(const Problems&, const double*, std::size_t, int, std::uint8_t*);
template void label_nearest(const Problems&, const double*, std::size_t, int, std::uint16_t*);
template void label_nearest(const Problems&, const double*, std::size_t, int, std::uint32_t*);

}  // namespace wkmeans
