#include "cpu/direct_moments.h"

#include "cpu/isa.h"
#include "cpu/pyramid.h"

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

// The heaviest point: distances to it are what the mean's digits are about.
WKM_ALWAYS_INLINE double heaviest_weight(const double* weight, const double* mass,
                                         std::size_t count) {
  double most[kSums] = {};
  for_each_lane(count, [&](std::size_t i, std::size_t lane) {
    most[lane] = mass[i] > most[lane] ? mass[i] : most[lane];
  });
  double heaviest = 0.0;
  for (std::size_t lane = 0; lane < kSums; ++lane) {
    heaviest = most[lane] > heaviest ? most[lane] : heaviest;
  }
  std::size_t i = 0;
  while (i + 1 < count && mass[i] != heaviest) ++i;
  return weight[i];
}

struct Mean {
  double mass, origin, offset;
};

WKM_ALWAYS_INLINE Mean mean_of(const double* weight, const double* mass, std::size_t count) {
  const double origin = heaviest_weight(weight, mass, count);
  double masses[kSums] = {};
  double firsts[kSums] = {};
  for_each_lane(count, [&](std::size_t i, std::size_t lane) {
    masses[lane] += mass[i];
    firsts[lane] += mass[i] * (weight[i] - origin);
  });
  const double sum = total(masses);
  return {sum, origin, sum > 0.0 ? total(firsts) / sum : 0.0};
}

struct SumSecond {
  static WKM_ALWAYS_INLINE SecondMoments run(const double* weight, const double* mass,
                                             std::size_t count) {
    const Mean mean = mean_of(weight, mass, count);
    double seconds[kSums] = {};
    for_each_lane(count, [&](std::size_t i, std::size_t lane) {
      const double distance = (weight[i] - mean.origin) - mean.offset;
      seconds[lane] += mass[i] * (distance * distance);
    });
    return {mean.mass, mean.origin, mean.offset, total(seconds)};
  }
};

struct SumFourth {
  static WKM_ALWAYS_INLINE FourthMoments run(const double* weight, const double* mass,
                                             std::size_t count) {
    const Mean mean = mean_of(weight, mass, count);
    double seconds[kSums] = {};
    double thirds[kSums] = {};
    double fourths[kSums] = {};
    for_each_lane(count, [&](std::size_t i, std::size_t lane) {
      const double distance = (weight[i] - mean.origin) - mean.offset;
      const double square = distance * distance;
      const double second = mass[i] * square;
      seconds[lane] += second;
      thirds[lane] += second * distance;
      fourths[lane] += second * square;
    });
    return {mean.mass, mean.origin, mean.offset, total(seconds), total(thirds), total(fourths)};
  }
};

QuadraticMoments sum(const QuadraticMoments* /*kind*/, const Points& points, std::size_t begin,
                     std::size_t count) {
  return {
      dispatch<SumSecond>(points.weight.data() + begin, points.importance.data() + begin, count)};
}

QuarticMoments sum(const QuarticMoments* /*kind*/, const Points& points, std::size_t begin,
                   std::size_t count) {
  const double* weight = points.weight.data() + begin;
  return {dispatch<SumSecond>(weight, points.importance.data() + begin, count),
          dispatch<SumFourth>(weight, points.quartic_importance.data() + begin, count)};
}

}  // namespace

template <class Moments>
Moments DirectMoments<Moments>::range(std::size_t begin, std::size_t end) const {
  if (end - begin == 1) return point_moments<Moments>(*points_, begin);
  return sum(static_cast<const Moments*>(nullptr), *points_, begin, end - begin);
}

template class DirectMoments<QuadraticMoments>;
template class DirectMoments<QuarticMoments>;

}  // namespace wkmeans
