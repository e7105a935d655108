#include "cpu/point_groups.h"

namespace wkmeans {

void reserve_groups(std::size_t n, bool quartic, Points& points) {
  points.weight.as<double>().reserve(n);
  points.importance.as<double>().reserve(n);
  if (quartic) points.quartic_importance.as<double>().reserve(n);
  points.groups.reserve(n);
  points.lows.reserve(n);
  points.highs.reserve(n);
  points.divisible.reserve(n);
}

void append_group(const QuarticMoments& moments, double low, double high, bool divisible,
                  bool quartic, Points& points, bool replaces_last) {
  if (replaces_last) {
    points.weight.pop_back();
    points.importance.pop_back();
    if (quartic) points.quartic_importance.pop_back();
    points.groups.pop_back();
    points.lows.pop_back();
    points.highs.pop_back();
    points.divisible.pop_back();
  }
  const SecondMoments& i = moments.quadratic;
  const FourthMoments& h = moments.quartic;
  const double mean = i.mass > 0.0 ? i.origin + i.offset : h.origin + h.offset;
  points.weight.push_back(mean < low ? low : (mean > high ? high : mean));
  points.importance.push_back(i.mass);
  if (quartic) points.quartic_importance.push_back(h.mass);
  points.groups.push_back(moments);
  points.lows.push_back(low);
  points.highs.push_back(high);
  points.divisible.push_back(divisible);
}

}  // namespace wkmeans
