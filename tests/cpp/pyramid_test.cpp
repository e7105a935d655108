#include "cpu/intervals/pyramid.h"

#include <doctest/doctest.h>

#include "math/centroid.h"
#include "reference.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// Points whose weights may tie: the pyramid does not ask for distinct ones.
Points ascending_points(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  Points points;
  for (std::size_t i = 0; i < n; ++i) {
    points.weight.push_back(random.normal());
    points.importance.push_back(random.of_decades(-10, 10));
    points.quartic_importance.push_back(random.below(4) ? random.of_decades(-10, 10) : 0.0);
  }
  auto& weights = points.weight.as<double>();
  std::sort(weights.begin(), weights.end());
  return points;
}

bool even_moments_close(const SecondMoments& a, const SecondMoments& b, double tolerance) {
  return close(a.mass, b.mass, tolerance * b.mass) &&
         close(a.second, b.second, tolerance * b.second);
}

bool even_moments_close(const FourthMoments& a, const FourthMoments& b, double tolerance) {
  return close(a.mass, b.mass, tolerance * b.mass) &&
         close(a.second, b.second, tolerance * b.second) &&
         close(a.fourth, b.fourth, tolerance * b.fourth);
}

}  // namespace

TEST_CASE("every range of a pyramid is the merge of its points") {
  for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 63u, 64u, 65u, 257u, 321u}) {
    CAPTURE(n);
    const Points points = ascending_points(n, n);
    Pyramid<QuarticMoments> pyramid;
    pyramid.build(points, Parallel(1));
    int n_wrong = 0;
    for (std::size_t begin = 0; begin <= n; ++begin) {
      QuarticMoments direct{};
      for (std::size_t end = begin; end <= n; ++end) {
        const QuarticMoments range = pyramid.range(begin, end);
        n_wrong += !even_moments_close(range.quadratic, direct.quadratic, 1e-13) ||
                   !even_moments_close(range.quartic, direct.quartic, 1e-13) ||
                   !close(centre(range).cost, centre(direct).cost, 1e-12 * centre(direct).cost);
        if (end < n) direct = merge(direct, point_moments<QuarticMoments>(points, end));
      }
    }
    CHECK(n_wrong == 0);
  }
}

TEST_CASE("long ranges of a pyramid are the direct sums in long double") {
  const std::size_t n = 100003;
  const Points points = ascending_points(n, 1);
  Pyramid<QuarticMoments> pyramid;
  pyramid.build(points, Parallel(2));
  Random random(2);
  for (int round = 0; round < 20; ++round) {
    std::size_t begin = random.below(n);
    std::size_t end = random.below(n);
    if (begin > end) std::swap(begin, end);
    CAPTURE(begin);
    CAPTURE(end);
    const auto cut = [&](const auto& values) {
      return std::vector<double>(values.begin() + static_cast<std::ptrdiff_t>(begin),
                                 values.begin() + static_cast<std::ptrdiff_t>(end) + 1);
    };
    const QuarticMoments range = pyramid.range(begin, end + 1);
    const ReferenceMoments second = direct_moments(cut(points.weight), cut(points.importance));
    const ReferenceMoments fourth =
        direct_moments(cut(points.weight), cut(points.quartic_importance));
    CHECK(close(range.quadratic.second, second.second, 1e-13 * second.second));
    CHECK(close(range.quartic.fourth, fourth.fourth, 1e-13 * fourth.fourth));
  }
}

TEST_CASE("a pyramid is the same to the last bit for every number of threads") {
  const Points points = ascending_points(200001, 4);
  Pyramid<QuarticMoments> one;
  one.build(points, Parallel(1));
  for (const int n_threads : kThreadCounts) {
    Pyramid<QuarticMoments> many;
    many.build(points, Parallel(n_threads));
    for (const std::size_t begin : {0u, 1u, 777u, 150000u}) {
      const QuarticMoments a = one.range(begin, points.size() - 1);
      const QuarticMoments b = many.range(begin, points.size() - 1);
      CHECK(a.quadratic.offset == b.quadratic.offset);
      CHECK(a.quadratic.second == b.quadratic.second);
      CHECK(a.quartic.third == b.quartic.third);
      CHECK(a.quartic.fourth == b.quartic.fourth);
    }
  }
}

TEST_CASE("a pyramid is built anew for other points") {
  Pyramid<QuadraticMoments> pyramid;
  const Points many = ascending_points(5000, 1);
  const Points few = ascending_points(40, 2);
  pyramid.build(many, Parallel(1));
  pyramid.build(few, Parallel(1));
  Pyramid<QuadraticMoments> fresh;
  fresh.build(few, Parallel(1));
  CHECK(pyramid.range(0, 40).quadratic.second == fresh.range(0, 40).quadratic.second);
}
