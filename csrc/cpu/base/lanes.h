#pragma once

#include <cstddef>
#include <cstring>
#include <limits>

#include "cpu/base/isa.h"

namespace wkmeans {

// Running minima of a row of floats that stay in registers. Compilers unroll short loops over an
// array before they think of vectors, so these are spelt out where they have vector types.
template <std::size_t N>
class LaneMinima {
public:
  WKM_ALWAYS_INLINE LaneMinima() {
    for (Part& part : parts_) part = Part{} + std::numeric_limits<float>::infinity();
  }

  // The lesser of each lane and of values[lane] + summand.
  WKM_ALWAYS_INLINE void take(const float* values, float summand) {
    for (std::size_t part = 0; part < kParts; ++part) {
      Part sums;
      std::memcpy(&sums, values + part * kPart, sizeof sums);
      sums += summand;
      parts_[part] = sums < parts_[part] ? sums : parts_[part];
    }
  }

  WKM_ALWAYS_INLINE void take(const float* values, const float* summands) {
    for (std::size_t part = 0; part < kParts; ++part) {
      Part sums;
      Part others;
      std::memcpy(&sums, values + part * kPart, sizeof sums);
      std::memcpy(&others, summands + part * kPart, sizeof others);
      sums += others;
      parts_[part] = sums < parts_[part] ? sums : parts_[part];
    }
  }

  WKM_ALWAYS_INLINE void take(const LaneMinima& other) {
    for (std::size_t part = 0; part < kParts; ++part) {
      parts_[part] = other.parts_[part] < parts_[part] ? other.parts_[part] : parts_[part];
    }
  }

  WKM_ALWAYS_INLINE void store(float* values, float subtrahend) const {
    for (std::size_t part = 0; part < kParts; ++part) {
      const Part differences = parts_[part] - subtrahend;
      std::memcpy(values + part * kPart, &differences, sizeof differences);
    }
  }

private:
#if defined(__GNUC__) || defined(__clang__)
  static constexpr std::size_t kPart = 8;
  typedef float Part __attribute__((vector_size(kPart * sizeof(float))));
#else
  static constexpr std::size_t kPart = 1;
  using Part = float;
#endif
  static constexpr std::size_t kParts = N / kPart;

  Part parts_[kParts];
};

}  // namespace wkmeans
