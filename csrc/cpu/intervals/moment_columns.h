#pragma once

#include <cstddef>

#include "math/moments.h"

namespace wkmeans {

// How moments lie in columns of doubles, `stride` apart, so that loops over many of them vectorise.
struct QuadraticFields {
  static constexpr std::size_t kCount = 4;

  static WKM_HD QuadraticMoments load(const double* at, std::size_t stride) {
    return {{at[0], at[stride], at[2 * stride], at[3 * stride]}};
  }
  static WKM_HD void store(const QuadraticMoments& m, double* at, std::size_t stride) {
    at[0] = m.quadratic.mass;
    at[stride] = m.quadratic.origin;
    at[2 * stride] = m.quadratic.offset;
    at[3 * stride] = m.quadratic.second;
  }
};

struct QuarticFields {
  static constexpr std::size_t kCount = 10;

  static WKM_HD QuarticMoments load(const double* at, std::size_t stride) {
    const double* h = at + 4 * stride;
    return {QuadraticFields::load(at, stride).quadratic,
            {h[0], h[stride], h[2 * stride], h[3 * stride], h[4 * stride], h[5 * stride]}};
  }
  static WKM_HD void store(const QuarticMoments& m, double* at, std::size_t stride) {
    QuadraticFields::store({m.quadratic}, at, stride);
    double* h = at + 4 * stride;
    h[0] = m.quartic.mass;
    h[stride] = m.quartic.origin;
    h[2 * stride] = m.quartic.offset;
    h[3 * stride] = m.quartic.second;
    h[4 * stride] = m.quartic.third;
    h[5 * stride] = m.quartic.fourth;
  }
};

template <class Moments>
struct FieldsOf;
template <>
struct FieldsOf<QuadraticMoments> {
  using Type = QuadraticFields;
};
template <>
struct FieldsOf<QuarticMoments> {
  using Type = QuarticFields;
};

}  // namespace wkmeans
