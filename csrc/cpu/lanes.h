#pragma once

#include <cstddef>
#include <cstring>

#include "cpu/interval_front.h"
#include "cpu/isa.h"

namespace wkmeans {

// kLanes running minima that stay in registers. Compilers unroll short loops over an array before
// they think of vectors, so this one is spelt out where they have vector types.
class LaneMinima {
public:
  WKM_ALWAYS_INLINE LaneMinima() {
    for (Part& part : parts_) part = Part{} + kInfinity;
  }

  // The lesser of each lane and of values[lane] + summand.
  WKM_ALWAYS_INLINE void take(const double* values, double summand) {
    for (std::size_t part = 0; part < kParts; ++part) {
      Part sums;
      std::memcpy(&sums, values + part * kPart, sizeof sums);
      sums += summand;
      parts_[part] = sums < parts_[part] ? sums : parts_[part];
    }
  }

  WKM_ALWAYS_INLINE void take(const double* values, const double* summands) {
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

  WKM_ALWAYS_INLINE void store(double* values, double subtrahend) const {
    for (std::size_t part = 0; part < kParts; ++part) {
      const Part differences = parts_[part] - subtrahend;
      std::memcpy(values + part * kPart, &differences, sizeof differences);
    }
  }

private:
#if defined(__GNUC__) || defined(__clang__)
  static constexpr std::size_t kPart = 4;
  typedef double Part __attribute__((vector_size(kPart * sizeof(double))));
#else
  static constexpr std::size_t kPart = 1;
  using Part = double;
#endif
  static constexpr std::size_t kParts = kLanes / kPart;

  Part parts_[kParts];
};

}  // namespace wkmeans
