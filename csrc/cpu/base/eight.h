#pragma once

#include <cstddef>
#include <cstring>
#include <limits>

#include "cpu/base/isa.h"

namespace wkmeans {

// Eight lanes of doubles, whatever the instruction set, so that sums have one shape. Spelt out
// where compilers have vector types: left to themselves they unroll such short loops first.
class Eight {
public:
  WKM_ALWAYS_INLINE Eight() = default;

  template <class Stored>  // float or double
  WKM_ALWAYS_INLINE explicit Eight(const Stored* values) {
    for (std::size_t part = 0; part < kParts; ++part) load(values + part * kPart, parts[part]);
  }

  WKM_ALWAYS_INLINE double total() const {
    double sums[kCount];
    std::memcpy(sums, parts, sizeof sums);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  }

  WKM_ALWAYS_INLINE double largest() const {
    double most[kCount];
    std::memcpy(most, parts, sizeof most);
    const auto larger = [](double a, double b) { return a > b ? a : b; };
    return larger(larger(larger(most[0], most[4]), larger(most[2], most[6])),
                  larger(larger(most[1], most[5]), larger(most[3], most[7])));
  }

  WKM_ALWAYS_INLINE double least() const {
    double values[kCount];
    std::memcpy(values, parts, sizeof values);
    const auto lesser = [](double a, double b) { return a < b ? a : b; };
    return lesser(lesser(lesser(values[0], values[4]), lesser(values[2], values[6])),
                  lesser(lesser(values[1], values[5]), lesser(values[3], values[7])));
  }

  WKM_ALWAYS_INLINE static Eight numbered() {
    constexpr double kLanes[kCount] = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0};
    return Eight(kLanes);
  }

  WKM_ALWAYS_INLINE static Eight filled(double value) {
    Eight all;
    for (Part& part : all.parts) part += value;
    return all;
  }

  // Zero in the lanes from this one on.
  WKM_ALWAYS_INLINE void clear_from(double lane) {
    const Eight lanes = numbered();
    for (std::size_t part = 0; part < kParts; ++part)
      parts[part] = lanes.parts[part] < lane ? parts[part] : Part{};
  }

  WKM_ALWAYS_INLINE void clear_below(double lane) {
    const Eight lanes = numbered();
    for (std::size_t part = 0; part < kParts; ++part)
      parts[part] = lanes.parts[part] < lane ? Part{} : parts[part];
  }

  WKM_ALWAYS_INLINE void raise_to(const Eight& other) {
    for (std::size_t part = 0; part < kParts; ++part)
      parts[part] = other.parts[part] > parts[part] ? other.parts[part] : parts[part];
  }

  WKM_ALWAYS_INLINE void lower_to(const Eight& other) {
    for (std::size_t part = 0; part < kParts; ++part)
      parts[part] = other.parts[part] < parts[part] ? other.parts[part] : parts[part];
  }

  // `value` where one number is less than another.
  WKM_ALWAYS_INLINE void replace_where_less(const Eight& a, const Eight& b, double value) {
    const Part values = Part{} + value;
    for (std::size_t part = 0; part < kParts; ++part)
      parts[part] = a.parts[part] < b.parts[part] ? values : parts[part];
  }

  WKM_ALWAYS_INLINE void store(double* values) const { std::memcpy(values, parts, sizeof parts); }

  // These values where `others` are `value`, less than any number elsewhere.
  WKM_ALWAYS_INLINE Eight where(const Eight& others, double value) const {
    Eight selected;
    const Part nothing = Part{} - std::numeric_limits<double>::infinity();
    for (std::size_t part = 0; part < kParts; ++part)
      selected.parts[part] = others.parts[part] == value ? parts[part] : nothing;
    return selected;
  }

  static constexpr std::size_t kCount = 8;
#if defined(__GNUC__) || defined(__clang__)
  static constexpr std::size_t kPart = 4;
  typedef double Part __attribute__((vector_size(kPart * sizeof(double))));
#else
  static constexpr std::size_t kPart = 1;
  using Part = double;
#endif
  static constexpr std::size_t kParts = kCount / kPart;

  Part parts[kParts] = {};

private:
#if defined(__GNUC__) || defined(__clang__)
  template <class Stored>
  static WKM_ALWAYS_INLINE void load(const Stored* values, Part& part) {
    typedef Stored Raw __attribute__((vector_size(kPart * sizeof(Stored))));
    Raw raw;
    std::memcpy(&raw, values, sizeof raw);
    part = __builtin_convertvector(raw, Part);
  }
#else
  template <class Stored>
  static void load(const Stored* value, Part& part) {
    part = *value;
  }
#endif
};

}  // namespace wkmeans
