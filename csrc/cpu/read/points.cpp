#include "cpu/read/points.h"

#include <algorithm>
#include <cmath>

namespace wkmeans {
namespace {

// A point at zero without importance.
void insert_zero(std::ptrdiff_t index, Points& points) {
  const auto insert = [&](auto& values, auto value) {
    values.insert(values.begin() + index, value);
  };
  if (points.quartic()) insert(points.quartic_importance.as<double>(), 0.0);
  insert(points.weight.as<double>(), 0.0);
  insert(points.importance.as<double>(), 0.0);
  if (!points.group_of.empty()) insert(points.group_of, kNoGroup);
}

}  // namespace

// A centroid fixed at zero is the limit of a point at zero whose importance outweighs all others
// (Lemma 14): so many decades above them, its centroid moves off zero by less than any digit shows.
void pin_zero(Points& points) {
  constexpr double kDecades = 1e60;
  double mass = 0.0;
  const std::size_t last = points.size() - 1;
  const double widest = std::max(std::fabs(points.low(0)), std::fabs(points.high(last)));
  for (std::size_t i = 0; i < points.size(); ++i) {
    mass += points.importance[i];
    if (points.quartic()) mass += points.quartic_importance[i] * (widest * widest);
  }
  const auto at = std::lower_bound(points.weight.begin(), points.weight.end(), 0.0);
  const auto index = at - points.weight.begin();
  if (at == points.weight.end() || *at != 0.0) insert_zero(index, points);
  points.pin = static_cast<std::size_t>(index);
  points.importance.as<double>()[points.pin] += kDecades * mass;
  if (points.group(points.pin))
    points.groups[points.group_of[points.pin]].moments.quadratic.mass += kDecades * mass;
}

void append_group(const PointGroup& group, bool quartic, Points& points, bool replaces_last) {
  if (replaces_last) {
    points.weight.pop_back();
    points.importance.pop_back();
    if (quartic) points.quartic_importance.pop_back();
    points.groups.pop_back();
    points.group_of.pop_back();
  }
  const SecondMoments& i = group.moments.quadratic;
  const FourthMoments& h = group.moments.quartic;
  const double mean = i.mass > 0.0 ? i.origin + i.offset : h.origin + h.offset;
  points.weight.push_back(mean < group.low ? group.low : (mean > group.high ? group.high : mean));
  points.importance.push_back(i.mass);
  if (quartic) points.quartic_importance.push_back(h.mass);
  points.group_of.push_back(static_cast<std::uint32_t>(points.groups.size()));
  points.groups.push_back(group);
}

void append_weights(const Points& from, std::size_t begin, std::size_t end, Points& points) {
  const auto append = [&](const Column& values, Column& to) {
    to.as<double>().insert(to.as<double>().end(),
                           values.begin() + static_cast<std::ptrdiff_t>(begin),
                           values.begin() + static_cast<std::ptrdiff_t>(end));
  };
  append(from.weight, points.weight);
  append(from.importance, points.importance);
  if (from.quartic()) append(from.quartic_importance, points.quartic_importance);
  points.group_of.insert(points.group_of.end(), end - begin, kNoGroup);
}

}  // namespace wkmeans
