#include "cpu/direct_moments.h"

#include <algorithm>
#include <limits>

#include "cpu/eight.h"
#include "cpu/isa.h"

namespace wkmeans {
namespace {

// Up to sixteen points, in registers: those that are missing weigh nothing.
template <class Stored>
class FewPoints {
public:
  static constexpr std::size_t kMost = 2 * Eight::kCount;

  WKM_ALWAYS_INLINE FewPoints(const Stored* weight, const Stored* mass, std::size_t count) {
    Stored weights[kMost];
    Stored masses[kMost] = {};
    if (count < kMost) {
      std::fill(weights, weights + kMost, weight[0]);
      std::copy(weight, weight + count, weights);
      std::copy(mass, mass + count, masses);
      weight = weights;
      mass = masses;
    }
    for (std::size_t i = 0; i < 2; ++i) {
      weights_[i] = Eight(weight + i * Eight::kCount);
      masses_[i] = Eight(mass + i * Eight::kCount);
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

template <class Stored>
class ManyPoints {
public:
  WKM_ALWAYS_INLINE ManyPoints(const Stored* weight, const Stored* mass, std::size_t count)
      : weight_(weight), mass_(mass), count_(count) {}

  template <class Visit>
  WKM_ALWAYS_INLINE void visit_eights(Visit&& visit) const {
    std::size_t i = 0;
    for (; i + FewPoints<Stored>::kMost <= count_; i += Eight::kCount)
      visit(Eight(weight_ + i), Eight(mass_ + i));
    FewPoints<Stored>(weight_ + i, mass_ + i, count_ - i).visit_eights(visit);
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
        seconds.parts[part] += masses.parts[part] * (distance * distance);
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
        const Eight::Part square = distance * distance;
        const Eight::Part second = masses.parts[part] * square;
        seconds.parts[part] += second;
        thirds.parts[part] += second * distance;
        fourths.parts[part] += second * square;
      }
    });
    return {mean.mass, mean.origin, mean.offset, seconds.total(), thirds.total(), fourths.total()};
  }
};

template <class Moments>
struct Sum {
  template <class Stored>
  static WKM_ALWAYS_INLINE auto run(const Stored* weight, const Stored* mass, std::size_t count) {
    return count <= FewPoints<Stored>::kMost ? Moments::of(FewPoints<Stored>(weight, mass, count))
                                             : Moments::of(ManyPoints<Stored>(weight, mass, count));
  }
};

template <class Kernel>
auto sums_of(const Points& points, const Column& mass, std::size_t begin, std::size_t count) {
  return mass.is_narrow()
             ? dispatch<Kernel>(points.weight.floats() + begin, mass.floats() + begin, count)
             : dispatch<Kernel>(points.weight.data() + begin, mass.data() + begin, count);
}

void sum(const Points& points, std::size_t begin, std::size_t count, QuadraticMoments& moments) {
  moments.quadratic = sums_of<Sum<Second>>(points, points.importance, begin, count);
}

void sum(const Points& points, std::size_t begin, std::size_t count, QuarticMoments& moments) {
  moments.quadratic = sums_of<Sum<Second>>(points, points.importance, begin, count);
  moments.quartic = sums_of<Sum<Fourth>>(points, points.quartic_importance, begin, count);
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
