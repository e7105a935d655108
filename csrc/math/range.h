#pragma once

#include <cstddef>

#include "math/platform.h"

namespace wkmeans {

// Indices from `begin` up to `end`, which is not among them.
template <class Index = std::size_t>
struct Range {
  Index begin, end;

  WKM_HD Index size() const { return end - begin; }
  bool operator==(const Range& other) const { return begin == other.begin && end == other.end; }
};

// Places where a boundary may be, between sorted points or nodes of a row of cells: from `first` to
// `last`, both among them.
struct Positions {
  std::size_t first, last;

  std::size_t size() const { return last - first + 1; }
};

}  // namespace wkmeans
