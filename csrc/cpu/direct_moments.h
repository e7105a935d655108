#pragma once

#include <cstddef>

#include "cpu/points.h"
#include "math/moments.h"

namespace wkmeans {

// Moments of any range of sorted points, summed point by point about the range's own mean: no
// preparation, O(end - begin) a range. For problems too small for a Pyramid to pay.
template <class Moments>
class DirectMoments {
public:
  explicit DirectMoments(const Points& points) : points_(&points) {}

  // Moments of points [begin, end), which are not none.
  Moments range(std::size_t begin, std::size_t end) const;

private:
  const Points* points_;
};

}  // namespace wkmeans
