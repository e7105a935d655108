#include "math/moments.h"

#include <doctest/doctest.h>

#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// Merges [begin, end) as a tree whose splits are drawn at random.
template <class Moments>
Moments merged_at_random(const std::vector<Moments>& leaves, std::size_t begin, std::size_t end,
                         Random& random) {
  if (end - begin == 1) return leaves[begin];
  const std::size_t middle = begin + 1 + random.below(end - begin - 1);
  return merge(merged_at_random(leaves, begin, middle, random),
               merged_at_random(leaves, middle, end, random));
}

template <class Moments>
Moments merged_in_turn(const std::vector<Moments>& leaves) {
  Moments sum{};
  for (const Moments& leaf : leaves) sum = merge(sum, leaf);
  return sum;
}

// Each merge may cost a few ulps; the mean is exact to that share of the spread.
double tolerance_for(std::size_t n) { return 8.0 * kEpsilon * static_cast<double>(n); }

template <class Moments>
void check_mean_and_second(const Moments& m, const ReferenceMoments& direct, double tolerance) {
  CHECK(close(m.mass, direct.mass, tolerance * direct.mass));
  CHECK(close(m.second, direct.second, tolerance * direct.second));
  const Real mean_error = (static_cast<Real>(m.origin) - direct.mean.origin) +
                          (static_cast<Real>(m.offset) - direct.mean.offset);
  CHECK(close(mean_error, 0, tolerance * std::sqrt(direct.second / direct.mass)));
}

void check_fourth_moments(const FourthMoments& m, const ReferenceMoments& direct,
                          double tolerance) {
  check_mean_and_second(m, direct, tolerance);
  CHECK(close(m.third, direct.third, tolerance * std::sqrt(direct.second * direct.fourth)));
  CHECK(close(m.fourth, direct.fourth, tolerance * direct.fourth));
}

}  // namespace

TEST_CASE("merged moments are those of the direct sums") {
  for (const std::size_t n : {2u, 3u, 17u, 200u}) {
    for_each_family(n, n, [&](const Items& items, const std::string& name) {
      CAPTURE(n);
      CAPTURE(name);
      std::vector<SecondMoments> seconds;
      std::vector<FourthMoments> fourths;
      for (std::size_t i = 0; i < n; ++i) {
        const auto leaf =
            QuarticMoments::of(items.weight[i], items.importance[i], items.quartic_importance[i]);
        seconds.push_back(leaf.quadratic);
        fourths.push_back(leaf.quartic);
      }
      const ReferenceMoments second = direct_moments(items.weight, items.importance);
      const ReferenceMoments fourth = direct_moments(items.weight, items.quartic_importance);
      const double tolerance = tolerance_for(n);
      check_mean_and_second(merged_in_turn(seconds), second, tolerance);
      check_fourth_moments(merged_in_turn(fourths), fourth, tolerance);
      Random random(n);
      check_mean_and_second(merged_at_random(seconds, 0, n, random), second, tolerance);
      check_fourth_moments(merged_at_random(fourths, 0, n, random), fourth, tolerance);
    });
  }
}

TEST_CASE("heavy weights whose distances have powers that underflow keep their moments") {
  const std::vector<double> masses{0x1p900, 0x1p899, 0x1p901};
  const auto merged_at = [&](const std::vector<double>& weights) {
    std::vector<QuarticMoments> leaves;
    for (std::size_t i = 0; i < masses.size(); ++i)
      leaves.push_back(QuarticMoments::of(weights[i], masses[i], masses[i]));
    return merged_in_turn(leaves);
  };
  const std::vector<double> of_squares{0.0, 0x1p-550, 0x1.8p-549};
  const SecondMoments second = merged_at(of_squares).quadratic;
  check_mean_and_second(second, direct_moments(of_squares, masses), tolerance_for(3));
  const std::vector<double> of_fourth_powers{0.0, 0x1p-400, 0x1.8p-399};
  const FourthMoments fourth = merged_at(of_fourth_powers).quartic;
  check_fourth_moments(fourth, direct_moments(of_fourth_powers, masses), tolerance_for(3));
}

TEST_CASE("a set without importance changes nothing") {
  const auto some = merge(QuarticMoments::of(1.0, 2.0, 3.0), QuarticMoments::of(1.5, 0.25, 7.0));
  const auto none = QuarticMoments::of(-1e60, 0.0, 0.0);
  for (const QuarticMoments& m : {merge(some, none), merge(none, some),
                                  merge(some, QuarticMoments{}), merge(QuarticMoments{}, some)}) {
    CHECK(m.quadratic.mass == some.quadratic.mass);
    CHECK(m.quadratic.origin + m.quadratic.offset == some.quadratic.origin + some.quadratic.offset);
    CHECK(m.quadratic.second == some.quadratic.second);
    CHECK(m.quartic.mass == some.quartic.mass);
    CHECK(m.quartic.second == some.quartic.second);
    CHECK(m.quartic.third == some.quartic.third);
    CHECK(m.quartic.fourth == some.quartic.fourth);
  }
  CHECK(none.empty());
  CHECK(merge(none, none).empty());
  CHECK_FALSE(some.empty());
  CHECK_FALSE(QuarticMoments::of(0.0, 0.0, 1.0).empty());
  CHECK(QuadraticMoments::of(0.0, 0.0, 1.0).empty());
}
