#include "cpu/direct_moments.h"

#include "cpu/isa.h"

namespace wkmeans {
namespace {

// Sums are kept in this many lanes, whatever the instruction set.
constexpr std::size_t kSums = 8;

WKM_ALWAYS_INLINE double total(const double* sums) {
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// term(i, lane) for each i below count, in lanes; what `term` adds up to has a fixed shape.
template <class Term>
WKM_ALWAYS_INLINE void for_each_lane(std::size_t count, Term&& term) {
  std::size_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (std::size_t lane = 0; lane < kSums; ++lane) term(i + lane, lane);
  }
  for (std::size_t lane = 0; i + lane < count; ++lane) term(i + lane, lane);
}

// The heaviest point: distances to it are what the mean's digits are about. Stored: float or
// double.
template <class Stored>
WKM_ALWAYS_INLINE double heaviest_weight(const Stored* weight, const Stored* mass,
                                         std::size_t count) {
  double most[kSums] = {};
  for_each_lane(count, [&](std::size_t i, std::size_t lane) {
    const double candidate = mass[i];
    most[lane] = candidate > most[lane] ? candidate : most[lane];
  });
  double heaviest = 0.0;
  for (std::size_t lane = 0; lane < kSums; ++lane) {
    heaviest = most[lane] > heaviest ? most[lane] : heaviest;
  }
  std::size_t i = 0;
  while (i + 1 < count && static_cast<double>(mass[i]) != heaviest) ++i;
  return weight[i];
}

struct Mean {
  double mass, origin, offset;
};

template <class Stored>
WKM_ALWAYS_INLINE Mean mean_of(const Stored* weight, const Stored* mass, std::size_t count) {
  const double origin = heaviest_weight(weight, mass, count);
  double masses[kSums] = {};
  double firsts[kSums] = {};
  for_each_lane(count, [&](std::size_t i, std::size_t lane) {
    const double share = mass[i];
    masses[lane] += share;
    firsts[lane] += share * (static_cast<double>(weight[i]) - origin);
  });
  const double sum = total(masses);
  return {sum, origin, sum > 0.0 ? total(firsts) / sum : 0.0};
}

struct SumSecond {
  template <class Stored>
  static WKM_ALWAYS_INLINE SecondMoments run(const Stored* weight, const Stored* mass,
                                             std::size_t count) {
    const Mean mean = mean_of(weight, mass, count);
    double seconds[kSums] = {};
    for_each_lane(count, [&](std::size_t i, std::size_t lane) {
      const double distance = (static_cast<double>(weight[i]) - mean.origin) - mean.offset;
      seconds[lane] += static_cast<double>(mass[i]) * (distance * distance);
    });
    return {mean.mass, mean.origin, mean.offset, total(seconds)};
  }
};

struct SumFourth {
  template <class Stored>
  static WKM_ALWAYS_INLINE FourthMoments run(const Stored* weight, const Stored* mass,
                                             std::size_t count) {
    const Mean mean = mean_of(weight, mass, count);
    double seconds[kSums] = {};
    double thirds[kSums] = {};
    double fourths[kSums] = {};
    for_each_lane(count, [&](std::size_t i, std::size_t lane) {
      const double distance = (static_cast<double>(weight[i]) - mean.origin) - mean.offset;
      const double square = distance * distance;
      const double second = static_cast<double>(mass[i]) * square;
      seconds[lane] += second;
      thirds[lane] += second * distance;
      fourths[lane] += second * square;
    });
    return {mean.mass, mean.origin, mean.offset, total(seconds), total(thirds), total(fourths)};
  }
};

template <class Kernel>
auto sums_of(const Points& points, const Column& mass, std::size_t begin, std::size_t count) {
  return mass.is_narrow()
             ? dispatch<Kernel>(points.weight.floats() + begin, mass.floats() + begin, count)
             : dispatch<Kernel>(points.weight.data() + begin, mass.data() + begin, count);
}

void sum(const Points& points, std::size_t begin, std::size_t count, QuadraticMoments& moments) {
  moments.quadratic = sums_of<SumSecond>(points, points.importance, begin, count);
}

void sum(const Points& points, std::size_t begin, std::size_t count, QuarticMoments& moments) {
  moments.quadratic = sums_of<SumSecond>(points, points.importance, begin, count);
  moments.quartic = sums_of<SumFourth>(points, points.quartic_importance, begin, count);
}

}  // namespace

template <class Moments>
Moments summed(const Points& points, std::size_t begin, std::size_t end) {
  Moments moments{};
  if (end - begin == 1) return point_moments<Moments>(points, begin);
  if (points.groups.empty()) {
    if (begin < end) sum(points, begin, end - begin, moments);
  } else {
    for (std::size_t i = begin; i < end; ++i)
      moments = merge(moments, point_moments<Moments>(points, i));
  }
  return moments;
}

template QuadraticMoments summed(const Points&, std::size_t, std::size_t);
template QuarticMoments summed(const Points&, std::size_t, std::size_t);

}  // namespace wkmeans
