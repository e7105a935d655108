#include "cpu/read/point_groups.h"

#include <cstdint>

namespace wkmeans {

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
