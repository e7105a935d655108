#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "math/moments.h"
#include "math/platform.h"

namespace wkmeans {

// The lemmas by which searches exclude clusterings, each once: what one more centroid is worth, how
// far apart that lets two centroids lie, what splitting a cell between them can gain, and what a
// path over cells is credited for it. Their proofs, and those of all lemmas that code cites by
// number, are in docs/solver.md.

// Lemma 9. The optimal cost is convex in k: the k-th centroid saves no more than each of those
// between `fewer` and k saves on average, and all of them no more than there is to save.
inline double worth_of_a_centroid(double cost_with_fewer, std::size_t fewer, std::size_t k) {
  return cost_with_fewer / static_cast<double>(k - fewer);
}

// Half-gaps, Lemma 8. Let two neighbouring centroids lie 2d apart around a boundary, and points of
// importances I and H within r of it. One more centroid, at the boundary, would save at least
// d (d - 2r) (I + H d^2 / 2) on each: no more than one is worth. The sums bound d.

// The largest d with d^2 - 2 r d <= worth, for importances that add up to 1.
WKM_HD double quadratic_half_gap(double r, double worth) { return r + std::sqrt(r * r + worth); }

// The same by the fourth powers, whose quartic importances add up to 1: of twice the r and the
// worth.
WKM_HD double quartic_half_gap(double twice_r, double twice_worth) {
  return twice_r + std::sqrt(std::sqrt(twice_worth));
}

// Gains, Lemma 7. Two centroids at most 2d apart have their boundary inside a cell. A weight t away
// from the boundary gains (i I + h H) t by its own centroid over the other: i = 4 d, h = 8 d (t^2 +
// d^2).
struct GainRates {
  double importance, quartic_importance;
};
WKM_HD GainRates gain_rates(double half_gap, double width) {
  return {4.0 * half_gap, 8.0 * half_gap * (half_gap * half_gap + width * width)};
}

// Mass and spread of a cell's points if each counts so much for its importances.
inline SecondMoments blend(const QuadraticMoments& m, const GainRates& rates) {
  return {rates.importance * m.quadratic.mass, m.quadratic.origin, m.quadratic.offset,
          rates.importance * m.quadratic.second};
}
inline SecondMoments blend(const QuarticMoments& m, const GainRates& rates) {
  const double h = rates.quartic_importance;
  return merge(
      blend(QuadraticMoments{m.quadratic}, rates),
      SecondMoments{h * m.quartic.mass, m.quartic.origin, m.quartic.offset, h * m.quartic.second});
}

// What splitting a cell between the two can gain over leaving it whole: the lighter side is given
// up. min(a, b) <= (a + b) / 2, then Cauchy-Schwarz.
template <class Moments>
double split_gain(const Moments& cell, double width, double half_gap) {
  const SecondMoments gains = blend(cell, gain_rates(half_gap, width));
  return 0.5 * std::sqrt(gains.mass) * std::sqrt(gains.second);
}

// Discounts, Lemma 10. A path over whole cells earns at node i what clusterings with a boundary
// inside the cell before it or after it can gain over one with the boundary moved to the node;
// nothing at the ends. Both cells are cut and moved to one node only where a cluster between them
// vanishes, and its edge, which costs `multiplier`.
inline void boundary_discounts(const std::vector<double>& gains, double multiplier,
                               std::vector<double>& discounts) {
  discounts.assign(gains.size() + 1, 0.0);
  for (std::size_t i = 1; i < gains.size(); ++i) {
    const double either = gains[i - 1] < gains[i] ? gains[i] : gains[i - 1];
    const double both = gains[i - 1] + gains[i] - multiplier;
    discounts[i] = either < both ? both : either;
  }
}

// The same where only one of the two cells can be cut.
inline void boundary_discounts(const std::vector<double>& gains, std::vector<double>& discounts) {
  boundary_discounts(gains, std::numeric_limits<double>::infinity(), discounts);
}

}  // namespace wkmeans
