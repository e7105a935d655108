#include "cpu/intervals/leaf_sums.h"

#include <algorithm>
#include <limits>

#include "cpu/base/eight.h"
#include "cpu/base/isa.h"

namespace wkmeans {
namespace {

// Up to sixteen points, in registers: those that are missing weigh nothing.
class FewPoints {
public:
  static constexpr std::size_t kMost = 2 * Eight::kCount;

  template <class Stored>
  WKM_ALWAYS_INLINE FewPoints(const Stored* weight, const Stored* mass) {
    for (std::size_t i = 0; i < 2; ++i) {
      weights_[i] = Eight(weight + i * Eight::kCount);
      masses_[i] = Eight(mass + i * Eight::kCount);
    }
  }

  // Where memory ends before the sixteenth.
  template <class Stored>
  static WKM_ALWAYS_INLINE FewPoints copied(const Stored* weight, const Stored* mass,
                                            std::size_t count) {
    Stored weights[kMost];
    Stored masses[kMost] = {};
    std::fill(weights, weights + kMost, weight[0]);
    std::copy(weight, weight + count, weights);
    std::copy(mass, mass + count, masses);
    return {weights, masses};
  }

  WKM_ALWAYS_INLINE void keep_first(std::size_t count) {
    for (std::size_t i = 0; i < 2; ++i) {
      masses_[i].clear_from(static_cast<double>(count) - static_cast<double>(i * Eight::kCount));
    }
  }

  template <class Visit>  // visit(weights, masses) of eight points
  WKM_ALWAYS_INLINE void visit_eights(Visit&& visit) const {
    visit(weights_[0], masses_[0]);
    visit(weights_[1], masses_[1]);
  }

private:
  Eight weights_[2], masses_[2];
};

// More than sixteen points.
template <class Stored>
class ManyPoints {
public:
  WKM_ALWAYS_INLINE ManyPoints(const Stored* weight, const Stored* mass, std::size_t count)
      : weight_(weight), mass_(mass), count_(count) {}

  template <class Visit>
  WKM_ALWAYS_INLINE void visit_eights(Visit&& visit) const {
    std::size_t i = 0;
    for (; i + Eight::kCount <= count_; i += Eight::kCount)
      visit(Eight(weight_ + i), Eight(mass_ + i));
    if (i == count_) return;
    Eight last(mass_ + count_ - Eight::kCount);
    last.clear_below(static_cast<double>(i + Eight::kCount - count_));
    visit(Eight(weight_ + count_ - Eight::kCount), last);
  }

private:
  const Stored* weight_;
  const Stored* mass_;
  std::size_t count_;
};

// The weight of the heaviest point: distances to it are what the mean's digits are about.
template <class Points>
WKM_ALWAYS_INLINE double heaviest_weight(const Points& points) {
  Eight most;
  points.visit_eights([&](const Eight&, const Eight& masses) { most.raise_to(masses); });
  const double heaviest = most.largest();
  Eight found = Eight::filled(-std::numeric_limits<double>::infinity());
  points.visit_eights([&](const Eight& weights, const Eight& masses) {
    found.raise_to(weights.where(masses, heaviest));
  });
  return found.largest();
}

struct Mean {
  double mass, origin, offset;
};

template <class Points>
WKM_ALWAYS_INLINE Mean mean_of(const Points& points) {
  const double origin = heaviest_weight(points);
  Eight sums;
  Eight firsts;
  points.visit_eights([&](const Eight& weights, const Eight& masses) {
    for (std::size_t part = 0; part < Eight::kParts; ++part) {
      sums.parts[part] += masses.parts[part];
      firsts.parts[part] += masses.parts[part] * (weights.parts[part] - origin);
    }
  });
  const double sum = sums.total();
  return {sum, origin, sum > 0.0 ? firsts.total() / sum : 0.0};
}

struct Second {
  template <class Points>
  static WKM_ALWAYS_INLINE SecondMoments of(const Points& points) {
    const Mean mean = mean_of(points);
    Eight seconds;
    points.visit_eights([&](const Eight& weights, const Eight& masses) {
      for (std::size_t part = 0; part < Eight::kParts; ++part) {
        const Eight::Part distance = (weights.parts[part] - mean.origin) - mean.offset;
        seconds.parts[part] += masses.parts[part] * distance * distance;
      }
    });
    return {mean.mass, mean.origin, mean.offset, seconds.total()};
  }
};

struct Fourth {
  template <class Points>
  static WKM_ALWAYS_INLINE FourthMoments of(const Points& points) {
    const Mean mean = mean_of(points);
    Eight seconds;
    Eight thirds;
    Eight fourths;
    points.visit_eights([&](const Eight& weights, const Eight& masses) {
      for (std::size_t part = 0; part < Eight::kParts; ++part) {
        const Eight::Part distance = (weights.parts[part] - mean.origin) - mean.offset;
        const Eight::Part second = masses.parts[part] * distance * distance;
        const Eight::Part third = second * distance;
        seconds.parts[part] += second;
        thirds.parts[part] += third;
        fourths.parts[part] += third * distance;
      }
    });
    return {mean.mass, mean.origin, mean.offset, seconds.total(), thirds.total(), fourths.total()};
  }
};

// A kernel for each way to load: compilers merge the ends of a common one and keep its registers in
// memory.
template <class Moments>
struct SumSixteen {
  template <class Stored>
  static WKM_ALWAYS_INLINE auto run(const Stored* weight, const Stored* mass) {
    return Moments::of(FewPoints(weight, mass));
  }
};

template <class Moments>
struct SumSomeOfSixteen {
  template <class Stored>
  static WKM_ALWAYS_INLINE auto run(const Stored* weight, const Stored* mass, std::size_t count) {
    FewPoints points(weight, mass);
    points.keep_first(count);
    return Moments::of(points);
  }
};

template <class Moments>
struct SumLastFew {
  template <class Stored>
  static WKM_ALWAYS_INLINE auto run(const Stored* weight, const Stored* mass, std::size_t count) {
    return Moments::of(FewPoints::copied(weight, mass, count));
  }
};

template <class Moments>
struct SumMany {
  template <class Stored>
  static WKM_ALWAYS_INLINE auto run(const Stored* weight, const Stored* mass, std::size_t count) {
    return Moments::of(ManyPoints<Stored>(weight, mass, count));
  }
};

template <class Moments, class Stored>
auto sums_of(const Stored* weight, const Stored* mass, std::size_t count, std::size_t n_beyond) {
  if (count == FewPoints::kMost) return dispatch<SumSixteen<Moments>>(weight, mass);
  if (count > FewPoints::kMost) return dispatch<SumMany<Moments>>(weight, mass, count);
  return count + n_beyond < FewPoints::kMost
             ? dispatch<SumLastFew<Moments>>(weight, mass, count)
             : dispatch<SumSomeOfSixteen<Moments>>(weight, mass, count);
}

template <class Moments>
auto sums_of(const Points& points, const Column& mass, std::size_t begin, std::size_t count) {
  const std::size_t n_beyond = points.size() - begin - count;
  return mass.is_narrow()
             ? sums_of<Moments>(points.weight.floats() + begin, mass.floats() + begin, count,
                                n_beyond)
             : sums_of<Moments>(points.weight.data() + begin, mass.data() + begin, count, n_beyond);
}

void sum(const Points& points, std::size_t begin, std::size_t count, QuadraticMoments& moments) {
  moments.quadratic = sums_of<Second>(points, points.importance, begin, count);
}

void sum(const Points& points, std::size_t begin, std::size_t count, QuarticMoments& moments) {
  moments.quadratic = sums_of<Second>(points, points.importance, begin, count);
  moments.quartic = sums_of<Fourth>(points, points.quartic_importance, begin, count);
}

bool holds_groups(const Points& points, std::size_t begin, std::size_t end) {
  if (points.group_of.empty()) return false;
  return std::any_of(points.group_of.begin() + static_cast<std::ptrdiff_t>(begin),
                     points.group_of.begin() + static_cast<std::ptrdiff_t>(end),
                     [](std::uint32_t group) { return group != kNoGroup; });
}

}  // namespace

template <class Moments>
Moments summed(const Points& points, std::size_t begin, std::size_t end) {
  Moments moments{};
  if (end - begin == 1) return point_moments<Moments>(points, begin);
  if (!holds_groups(points, begin, end)) {
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
