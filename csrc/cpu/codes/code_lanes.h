#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/base/isa.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace wkmeans {

// Which of sixteen codes a lane has where the words of the first eight and of the others take
// turns.
constexpr int interleaved(int lane) { return lane % 2 * 8 + lane / 2; }

// Of four bits as a step of sixteen lanes takes them, of up to four, or of more.
enum class Codes { nibbles, shorter, longer };

// The values of `Width` (8 or 16) codes one behind another. Eight codes of b bits take b bytes. Up
// to four bits a code they fit a word of 32 bits: each lane shifts its own to the bottom and
// permutes a table of 16 values by it, which stays in registers. Longer codes are looked up in
// memory, one by one.
template <int Width>
class CodeLanes {
public:
  explicit WKM_ALWAYS_INLINE CodeLanes(int bits) : bits_(bits), mask_((1u << bits) - 1) {
    for (int lane = 0; lane < Width; ++lane) {
      shifts_[lane] = static_cast<std::uint32_t>(lane % 8 * bits);
      is_upper_[lane] = static_cast<std::uint32_t>(lane / 8);
    }
  }

#if defined(__GNUC__) || defined(__clang__)
  typedef float Values __attribute__((vector_size(Width * sizeof(float))));
  typedef std::uint32_t Places __attribute__((vector_size(Width * sizeof(std::uint32_t))));

  // A table of 16 values, of which codes of fewer bits use the first.
  struct Table {
    WKM_ALWAYS_INLINE void load(const float* from) {
      values = from;
#if defined(__aarch64__)
      bytes = vld1q_u8_x4(reinterpret_cast<const std::uint8_t*>(from));
#else
      std::memcpy(&low, from, sizeof low);
      if constexpr (Width == 8) std::memcpy(&high, from + 8, sizeof high);
#endif
    }

    const float* values;
#if defined(__aarch64__)
    uint8x16x4_t bytes;
#else
    Values low;
    Values high;
#endif
  };

private:
  WKM_ALWAYS_INLINE void short_codes(const Table& table, const std::uint8_t* codes,
                                     Values& values) const {
    Places places = Places{} + word_at(codes);
    if constexpr (Width == 16) {
      const Places second = Places{} + word_at(codes + bits_);
      Places is_upper;
      std::memcpy(&is_upper, is_upper_, sizeof is_upper);
      places = is_upper != 0 ? second : places;
    }
    Places shifts;
    std::memcpy(&shifts, shifts_, sizeof shifts);
    places = (places >> shifts) & mask_;
    permute(table, places, values);
  }

  // One load reaches all lanes, and what a lane has above its code is no part of a place among
  // sixteen.
  WKM_ALWAYS_INLINE void nibbles(const Table& table, const std::uint8_t* codes,
                                 Values& values) const {
    static_assert(Width == 16);
    std::uint64_t word;
    std::memcpy(&word, codes, sizeof word);
    typedef std::uint64_t Pairs __attribute__((vector_size(Width * sizeof(std::uint32_t))));
    const Pairs pairs = Pairs{} + word;
    Places places;
    std::memcpy(&places, &pairs, sizeof places);
    constexpr std::uint32_t kShifts[] = {0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28};
    Places shifts;
    std::memcpy(&shifts, kShifts, sizeof shifts);
    permute(table, places >> shifts, values);
  }

  WKM_ALWAYS_INLINE void long_codes(const Table& table, const std::uint8_t* codes,
                                    Values& values) const {
    float found[Width];
    for (int lane = 0; lane < Width; lane += 8) {
      std::uint64_t word;
      std::memcpy(&word, codes + static_cast<std::ptrdiff_t>(lane / 8) * bits_, sizeof word);
      WKM_UNROLL(8)
      for (int i = 0; i < 8; ++i) found[lane + i] = table.values[(word >> (i * bits_)) & mask_];
    }
    std::memcpy(&values, found, sizeof values);
  }

  static WKM_ALWAYS_INLINE void permute(const Table& table, const Places& places, Values& values) {
#if defined(__aarch64__)
    for (int half = 0; half < Width; half += 4) {
      std::uint32_t lanes[Width];
      const Places among_sixteen = places & 15;
      std::memcpy(lanes, &among_sixteen, sizeof lanes);
      // Four bytes of a value: its place times four, and the numbers of the bytes.
      const uint32x4_t bytes =
          vmlaq_n_u32(vdupq_n_u32(0x03020100u), vld1q_u32(lanes + half), 0x04040404u);
      const uint8x16_t found = vqtbl4q_u8(table.bytes, vreinterpretq_u8_u32(bytes));
      std::memcpy(reinterpret_cast<char*>(&values) + half * sizeof(float), &found, sizeof found);
    }
#elif defined(__clang__)
    for (int lane = 0; lane < Width; ++lane) values[lane] = table.values[places[lane] & 15];
#else
    if constexpr (Width == 16) {
      values = __builtin_shuffle(table.low, places);
    } else {
      values =
          places > 7 ? __builtin_shuffle(table.high, places) : __builtin_shuffle(table.low, places);
    }
#endif
  }
#else
  struct Values {
    WKM_ALWAYS_INLINE float& operator[](int lane) { return lanes[lane]; }
    float lanes[Width] = {};
  };
  struct Table {
    WKM_ALWAYS_INLINE void load(const float* from) { values = from; }
    const float* values;
  };

private:
  WKM_ALWAYS_INLINE void short_codes(const Table& table, const std::uint8_t* codes,
                                     Values& values) const {
    long_codes(table, codes, values);
  }
  WKM_ALWAYS_INLINE void nibbles(const Table& table, const std::uint8_t* codes,
                                 Values& values) const {
    for (int lane = 0; lane < Width; ++lane) {
      const int code = interleaved(lane);
      values[lane] = table.values[(codes[code / 2] >> (code % 2 * 4)) & 15];
    }
  }
  WKM_ALWAYS_INLINE void long_codes(const Table& table, const std::uint8_t* codes,
                                    Values& values) const {
    for (int lane = 0; lane < Width; ++lane) {
      std::uint64_t word;
      std::memcpy(&word, codes + static_cast<std::ptrdiff_t>(lane / 8) * bits_, sizeof word);
      values[lane] = table.values[(word >> shifts_[lane]) & mask_];
    }
  }

#endif

public:
  // The values of the codes at `codes`: of `Codes::nibbles` in the order of `interleaved`. Vectors
  // are handed out by reference: returned, they would follow the calling convention of one
  // instruction set.
  template <Codes Kind>
  WKM_ALWAYS_INLINE void look_up(const Table& table, const std::uint8_t* codes,
                                 Values& values) const {
    if constexpr (Kind == Codes::nibbles) {
      nibbles(table, codes, values);
    } else if constexpr (Kind == Codes::shorter) {
      short_codes(table, codes, values);
    } else {
      long_codes(table, codes, values);
    }
  }

private:
  static WKM_ALWAYS_INLINE std::uint32_t word_at(const std::uint8_t* codes) {
    std::uint32_t word;
    std::memcpy(&word, codes, sizeof word);
    return word;
  }

  int bits_;
  std::uint32_t mask_;
  std::uint32_t shifts_[Width];
  std::uint32_t is_upper_[Width];  // whether a lane is of the second word
};

// sum += values * factors, lane by lane.
template <MultiplyAdd Mode, int Width, class Values>
WKM_ALWAYS_INLINE void add_product(const Values& values, const float* factors, Values& sum) {
#if defined(__GNUC__) || defined(__clang__)
  if constexpr (Mode == MultiplyAdd::fused) {
    // Vector types have no fused operation of their own: compilers find it in a loop of lanes.
    float others[Width];
    float sums[Width];
    std::memcpy(others, &values, sizeof others);
    std::memcpy(sums, &sum, sizeof sums);
    WKM_UNROLL(1)
    for (int lane = 0; lane < Width; ++lane) {
      sums[lane] = std::fma(others[lane], factors[lane], sums[lane]);
    }
    std::memcpy(&sum, sums, sizeof sums);
  } else {
    Values other;
    std::memcpy(&other, factors, sizeof other);
    sum += values * other;
  }
#else
  for (int lane = 0; lane < Width; ++lane) sum.lanes[lane] += values.lanes[lane] * factors[lane];
#endif
}

}  // namespace wkmeans
