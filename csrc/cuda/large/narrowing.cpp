#include "cuda/large/narrowing.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "cpu/lagrangian/branch_and_bound.h"
#include "cpu/read/points.h"

namespace wkmeans::cuda {
namespace {

using Spans = std::vector<Range<std::uint64_t>>;
using Cuts = std::vector<std::uint64_t>;

constexpr std::uint64_t kFewestGroups = 16384;
constexpr std::uint64_t kGroupsPerCluster = 64;
constexpr std::uint64_t kMostParts = 64;  // of a group, a round

// Neighbouring weights, and whether the optimum may have a boundary among them.
struct Group {
  WeightGroup weights;
  bool divisible;
};
using Groups = std::vector<Group>;

std::uint64_t first_group_count(std::size_t k) {
  return std::max(kFewestGroups, kGroupsPerCluster * static_cast<std::uint64_t>(k));
}

// The parts of `span` between cuts, which ascend.
void append_parts(const Range<std::uint64_t>& span, const Cuts& cuts, Spans& out) {
  std::uint64_t begin = span.begin;
  for (auto cut = std::upper_bound(cuts.begin(), cuts.end(), span.begin);
       cut != cuts.end() && *cut < span.end; ++cut) {
    out.push_back({begin, *cut});
    begin = *cut;
  }
  if (begin < span.end) out.push_back({begin, span.end});
}

Groups described(SortedWeights& weights, const Spans& spans) {
  Groups groups;
  for (const WeightGroup& group : weights.describe(spans))
    groups.push_back({group, group.low < group.high});
  return groups;
}

// No group reaches across zero, or from zero to another weight.
Cuts with_cuts_around_zero(SortedWeights& weights, Cuts cuts) {
  for (const std::uint64_t at :
       weights.boundaries({-std::numeric_limits<double>::denorm_min(), 0.0})) {
    const auto place = std::lower_bound(cuts.begin(), cuts.end(), at);
    if (place == cuts.end() || *place != at) cuts.insert(place, at);
  }
  return cuts;
}

// So that every point is a group: pinning zero adds none.
void add_zero(Groups& groups) {
  const auto place = std::find_if(groups.begin(), groups.end(),
                                  [](const Group& group) { return group.weights.high >= 0.0; });
  if (place != groups.end() && place->weights.low == 0.0) return;
  const std::uint64_t at = place == groups.end() ? groups.back().weights.end : place->weights.begin;
  groups.insert(place, {{at, at, QuarticMoments{}, 0.0, 0.0}, false});
}

Groups cut_at(SortedWeights& weights, Cuts cuts, Zero zero) {
  if (zero == Zero::pinned) cuts = with_cuts_around_zero(weights, std::move(cuts));
  Spans spans;
  append_parts({0, weights.size()}, cuts, spans);
  Groups groups = described(weights, spans);
  if (zero == Zero::pinned) add_zero(groups);
  return groups;
}

Points points_of(const Groups& groups, bool quartic, Zero zero) {
  Points points;
  for (const Group& group : groups) {
    const WeightGroup& weights = group.weights;
    append_group({weights.moments, weights.low, weights.high, group.divisible}, quartic, points);
  }
  if (zero == Zero::pinned) pin_zero(points);
  return points;
}

// The next look at the groups: those that are open are cut, the others joined where no boundary of
// the optimum lies between them. Without bounds all that can be cut are.
class Refinement {
public:
  Refinement(const Groups& groups, const std::optional<Remaining>& remaining, std::size_t pin)
      : groups_(groups), remaining_(remaining), pin_(pin) {
    for (std::size_t g = 0; g < groups.size(); ++g) {
      if (is_cut(g)) spans_.push_back({groups[g].weights.begin, groups[g].weights.end});
    }
  }

  bool cuts_any() const { return !spans_.empty(); }

  Groups parts(SortedWeights& weights) const {
    const std::uint64_t n_parts =
        std::clamp(2 * kFewestGroups / spans_.size(), std::uint64_t{2}, kMostParts);
    const Cuts cuts = weights.cut(spans_, n_parts);
    Spans spans;
    for (const Range<std::uint64_t>& span : spans_) append_parts(span, cuts, spans);
    return described(weights, spans);
  }

  // `parts`: of the groups that are cut, in order.
  Groups joined(const Groups& parts) const {
    Groups next;
    auto part = parts.begin();
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const WeightGroup& group = groups_[g].weights;
      if (is_cut(g)) {
        for (; part != parts.end() && part->weights.begin < group.end; ++part)
          next.push_back(*part);
      } else if (g > 0 && joins(g)) {
        WeightGroup& last = next.back().weights;
        last = {last.begin, group.end, merge(last.moments, group.moments), last.low, group.high};
      } else {
        next.push_back({group, false});
      }
    }
    return next;
  }

private:
  bool is_cut(std::size_t g) const {
    return groups_[g].divisible && (!remaining_ || remaining_->open[g]);
  }
  bool joins(std::size_t g) const {
    return remaining_ && !is_cut(g - 1) && !remaining_->alive[g] && g != pin_ && g - 1 != pin_;
  }

  const Groups& groups_;
  const std::optional<Remaining>& remaining_;
  std::size_t pin_;
  Spans spans_;
};

}  // namespace

std::optional<Points> all_points(SortedWeights& weights, std::size_t k, Zero zero) {
  const std::uint64_t few = first_group_count(k);
  if (weights.size() > few && weights.count_runs({}) > few) return std::nullopt;
  const bool quartic = weights.quartic();
  Points points;
  for (const Group& group : cut_at(weights, weights.run_starts({}), Zero::free)) {
    points.weight.push_back(group.weights.low);
    points.importance.push_back(group.weights.moments.quadratic.mass);
    if (quartic) points.quartic_importance.push_back(group.weights.moments.quartic.mass);
  }
  if (zero == Zero::pinned) pin_zero(points);
  return points;
}

template <class Moments>
Points narrowed_points(SortedWeights& weights, std::size_t k, const Placement& placement, Zero zero,
                       Pyramid<Moments>& pyramid, const Parallel& parallel) {
  const Cuts cuts = weights.cut({{0, weights.size()}}, first_group_count(k));
  Groups groups = cut_at(weights, cuts, zero);
  for (;;) {
    const Points points = points_of(groups, weights.quartic(), zero);
    pyramid.build(points, parallel);
    const std::optional<Remaining> remaining = narrowed(points, pyramid, placement, k, parallel);
    const Refinement refinement(groups, remaining, points.pin);
    const bool done = !refinement.cuts_any();
    Groups next = refinement.joined(done ? Groups{} : refinement.parts(weights));
    if (done) return points_of(next.size() > k ? next : groups, weights.quartic(), zero);
    groups = std::move(next);
  }
}

template Points narrowed_points(SortedWeights&, std::size_t, const Placement&, Zero,
                                Pyramid<QuadraticMoments>&, const Parallel&);
template Points narrowed_points(SortedWeights&, std::size_t, const Placement&, Zero,
                                Pyramid<QuarticMoments>&, const Parallel&);

}  // namespace wkmeans::cuda
