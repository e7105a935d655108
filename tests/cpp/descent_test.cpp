#include "cpu/descent.h"

#include <doctest/doctest.h>

#include "cpu/centroid_format.h"
#include "cpu/curve.h"
#include "cpu/optimal_layers.h"
#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

// The layers' slack is theirs: each cost sums so many terms.
template <class Moments>
void check_descent(const Points& points, const Placement& placement, std::size_t k) {
  Pyramid<Moments> pyramid;
  pyramid.build(points, Parallel(1));
  const auto curve = descended_curve(points, pyramid, placement, k, Parallel(2));
  const std::vector<double> layers =
      optimal_layers(points, pyramid, placement, k, Want::costs, Parallel(1)).costs;
  if(!curve) { printf("open\n"); return; }
  for (std::size_t j = 0; j < k; ++j) {
    CAPTURE(j);
    CHECK((*curve)[j] == doctest::Approx(layers[j]).epsilon(1e-9));
  }
}

}  // namespace

TEST_CASE("descents pass through the optimum of every number of clusters") {
  for_each_family(150, 3, [](const Items& items, const std::string& name) {
    CAPTURE(name);
    for (const bool pinned : {false, true}) {
      CAPTURE(pinned);
      Points quadratic = sorted_points(items, false);
      Points quartic = sorted_points(items, true);
      if (pinned) {
        pin_zero(quadratic);
        pin_zero(quartic);
      }
      for (const CentroidFormat format : {CentroidFormat::float64, CentroidFormat::bfloat16, CentroidFormat::int8}) {
        CAPTURE(static_cast<int>(format));
        check_descent<QuadraticMoments>(quadratic, placement_of(format, scale_of(format, quadratic)),
                                        std::min<std::size_t>(40, quadratic.size()));
        check_descent<QuarticMoments>(quartic, placement_of(format, scale_of(format, quartic)),
                                      std::min<std::size_t>(40, quartic.size()));
      }
    }
  });
}
