#pragma once

#include <cstddef>

#include "cpu/read/points.h"
#include "math/moments.h"

namespace wkmeans {

// Moments of points [begin, end), summed point by point about their own mean: O(end - begin).
template <class Moments>
Moments summed(const Points& points, std::size_t begin, std::size_t end);

// The same of any range: no preparation, for problems too small for a Pyramid to pay.
template <class Moments>
class DirectMoments {
public:
  explicit DirectMoments(const Points& points) : points_(&points) {}

  Moments range(std::size_t begin, std::size_t end) const {
    return summed<Moments>(*points_, begin, end);
  }

private:
  const Points* points_;
};

}  // namespace wkmeans
