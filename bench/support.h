#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "cpu/base/isa.h"
#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"

namespace wkmeans::bench {

// What a trained layer and its importances look like: w = 0.02 t5, I = exp(N(-8, 3)), H = exp(N(-4,
// 3)).
struct Layer {
  std::vector<float> weights, importance, quartic_importance;

  explicit Layer(std::int64_t n) {
    std::mt19937_64 engine(1);
    std::student_t_distribution<float> t5(5.0f);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < n; ++i) {
      weights.push_back(0.02f * t5(engine));
      importance.push_back(std::exp(3.0f * normal(engine) - 8.0f));
      quartic_importance.push_back(std::exp(3.0f * normal(engine) - 4.0f));
    }
  }
};

// Drawn once for each size.
inline const Layer& layer_of(std::int64_t n) {
  static std::map<std::int64_t, Layer> layers;
  return layers.try_emplace(n, n).first->second;
}

struct Bytes {
  const std::byte* data;
  std::int64_t size;
};

template <class Values>
Bytes bytes_of(const Values& values) {
  return {reinterpret_cast<const std::byte*>(values.data()),
          static_cast<std::int64_t>(values.size() * sizeof(values[0]))};
}

inline Operand operand_of(const std::vector<float>& values, const char* name) {
  constexpr std::int64_t kSize = sizeof(float);
  const auto n = static_cast<std::int64_t>(values.size());
  return Operand(name, bytes_of(values).data, DType::float32, {{1, n * kSize}}, {{n, kSize}});
}

// The least that can be done with bytes: each word is added to a sum.
struct PlainRead {
  static constexpr std::int64_t kLanes = 32;

  static WKM_ALWAYS_INLINE std::uint64_t run(const std::byte* data, std::int64_t size) {
    constexpr auto word_size = static_cast<std::int64_t>(sizeof(std::uint64_t));
    std::uint64_t sums[kLanes] = {};
    for (std::int64_t at = 0; at + kLanes * word_size <= size; at += kLanes * word_size) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        std::uint64_t word;
        std::memcpy(&word, data + at + lane * word_size, sizeof word);
        sums[lane] += word;
      }
    }
    std::uint64_t sum = 0;
    for (const std::uint64_t lane_sum : sums) sum += lane_sum;
    return sum;
  }
};

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Best of several.
inline double seconds_to_read(const std::vector<Bytes>& inputs, const Parallel& parallel) {
  constexpr std::int64_t kPiece = 1 << 20;
  constexpr int kRepeats = 15;
  double best = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    best = std::min(best, seconds_of([&] {
                      for (const Bytes& bytes : inputs) {
                        parallel.run((bytes.size + kPiece - 1) / kPiece, [&](std::int64_t piece) {
                          const std::int64_t begin = piece * kPiece;
                          benchmark::DoNotOptimize(dispatch<PlainRead>(
                              bytes.data + begin, std::min(kPiece, bytes.size - begin)));
                        });
                      }
                    }));
  }
  return best;
}

// Times `work`, which reads `inputs` on `parallel`. Reports bytes per second and, as
// `x_plain_read`, the best time over that of a plain read of the same bytes on as many threads.
template <class Work>
void measure(benchmark::State& state, const std::vector<Bytes>& inputs, const Parallel& parallel,
             Work&& work) {
  double best = std::numeric_limits<double>::infinity();
  for ([[maybe_unused]] auto iteration : state) best = std::min(best, seconds_of(work));
  std::int64_t n_bytes = 0;
  for (const Bytes& bytes : inputs) n_bytes += bytes.size;
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * n_bytes);
  state.counters["x_plain_read"] = best / seconds_to_read(inputs, parallel);
}

inline std::int64_t all_cores() {
  return std::max<std::int64_t>(1, std::thread::hardware_concurrency());
}

}  // namespace wkmeans::bench
