#include "cpu/descent/strips.h"

#include <algorithm>

#include "cpu/intervals/bounds.h"
#include "math/centroid.h"

namespace wkmeans {
namespace {

// What points cost more with the centroid on either side than with their own.
struct Losses {
  double to_left = 0.0, to_right = 0.0;

  Losses operator+(const Losses& other) const {
    return {to_left + other.to_left, to_right + other.to_right};
  }
};

template <class Moments>
Losses losses_of(const Moments& moments, const Surroundings& surroundings) {
  const double cost = cost_about(moments, surroundings.own);
  return {cost_about(moments, surroundings.left) - cost,
          cost_about(moments, surroundings.right) - cost};
}

// The square of a cell's gain, roughly: it says where to cut.
template <class Moments>
double square_of_gain(const Moments& cell, double half_gap) {
  const SecondMoments gains = blend(cell, gain_rates(half_gap, 0.0));
  return 0.25 * gains.mass * gains.second;
}

}  // namespace

template <class Moments>
void CellCutter<Moments>::cut(std::size_t begin, std::size_t end, const Moments& whole,
                              const Surroundings& surroundings, const Tolerance& tolerance,
                              Strips<Moments>& windows) const {
  constexpr double kShare = 0.012;  // of the losses
  const double widest = half_gap(begin, end, surroundings);
  const double loss_of_all = losses_of(whole, surroundings).to_right;
  Losses before;  // of the points up to the cell
  Losses inside;  // of those in it
  Moments cell{};
  std::size_t from = begin;
  const auto fits = [&](const Moments& moments, const Losses& up_to, const Losses& of_it) {
    const double displaced =
        std::min(up_to.to_left, loss_of_all - (up_to.to_right + of_it.to_right));
    const double tolerated = std::clamp(kShare * displaced, tolerance.least, tolerance.most);
    return square_of_gain(moments, widest) <= tolerated * tolerated;
  };
  const auto finish_cell = [&](std::size_t to) {
    double gain = 0.0;
    if (to - from > 1) {
      const double width = points_.high(to - 1) - points_.low(from);
      gain = split_gain(cell, width, half_gap(from, to, surroundings));
    }
    windows.add(cell, gain, to);
    before = before + inside;
    from = to;
  };
  for (std::size_t at = begin; at < end;) {
    Group group = largest_group(at, end);
    Moments piece = moments_of(group, at);
    Losses more = losses_of(piece, surroundings);
    while (group.size > 1 && !fits(piece, before + inside, more)) {
      group = part_of(group);
      piece = moments_of(group, at);
      more = losses_of(piece, surroundings);
    }
    const Moments both = merge(cell, piece);
    if (at > from && !fits(both, before, inside + more)) {
      finish_cell(at);
      cell = piece;
      inside = more;
    } else {
      cell = both;
      inside = at > from ? inside + more : more;
    }
    at += group.size;
  }
  finish_cell(end);
}

// The boundary is half-way between the two centroids.
template <class Moments>
double CellCutter<Moments>::half_gap(std::size_t begin, std::size_t end,
                                     const Surroundings& surroundings) const {
  const double from_left = points_.high(end - 1) - surroundings.left;
  const double from_right = surroundings.right - points_.low(begin);
  return std::max(
      0.0, std::min({from_left, from_right, 0.5 * (surroundings.right - surroundings.left)}));
}

template <class Moments>
typename CellCutter<Moments>::Group CellCutter<Moments>::largest_group(std::size_t begin,
                                                                       std::size_t end) const {
  Group group{0, pyramid_.leaf()};
  const auto is_whole = [&](std::size_t size) { return begin % size == 0 && begin + size <= end; };
  if (pyramid_.n_levels() == 0 || !is_whole(group.size)) return {0, 1};
  while (group.level + 1 < pyramid_.n_levels() &&
         is_whole(group.size * Pyramid<Moments>::kFanOut)) {
    ++group.level;
    group.size *= Pyramid<Moments>::kFanOut;
  }
  return group;
}

template <class Moments>
typename CellCutter<Moments>::Group CellCutter<Moments>::part_of(const Group& group) const {
  if (group.level == 0) return {0, 1};
  return {group.level - 1, group.size / Pyramid<Moments>::kFanOut};
}

template <class Moments>
Moments CellCutter<Moments>::moments_of(const Group& group, std::size_t begin) const {
  return group.size == 1 ? point_moments<Moments>(points_, begin)
                         : pyramid_.node(group.level, begin / group.size);
}

template class CellCutter<QuadraticMoments>;
template class CellCutter<QuarticMoments>;

}  // namespace wkmeans
