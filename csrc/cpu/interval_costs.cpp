#include "cpu/interval_costs.h"

#include <algorithm>

#include "cpu/interval_front.h"

namespace wkmeans {
namespace {

struct Band {
  double* values;
  std::size_t* first;
  std::size_t* row;
};

template <class Moments, class Cost>
struct FillBand {
  static WKM_ALWAYS_INLINE void run(const Moments* cells, std::size_t n, double limit, Cost cost,
                                    Front front, double* reachable, Band band) {
    std::size_t first = 0;
    std::size_t used = 0;
    for (std::size_t i = 0; i < n; ++i) {
      FieldsOf<Moments>::Type::store(Moments{}, front.state + i, front.stride);
      front.roots[i] = 0.0;
      reachable[i] = 0.0;
      front.first = first / kLanes * kLanes;
      front.n_blocks = (i - front.first) / kLanes + 1;
      // At least kLanes values an end: a row's number of values used never lags its first start.
      const std::size_t row = used - front.first;
      front.candidates = band.values + row;
      GrowFor<Moments>::Type::run(front, cells[i], cost);
      while (first < i && front.candidates[first] > limit) ++first;
      band.first[i + 1] = first;
      band.row[i + 1] = row;
      used += kLanes * front.n_blocks;
    }
  }
};

}  // namespace

template <class Moments>
void IntervalCosts::fill(const std::vector<Moments>& cells, double limit,
                         const Placement& placement) {
  const std::size_t n = cells.size();
  const std::size_t stride = (n / kLanes + 2) * kLanes;
  n_cells_ = n;
  values_.resize(std::max(values_.size(), n * stride));
  first_.assign(n + 1, 0);
  row_.assign(n + 1, 0);
  state_.assign(FieldsOf<Moments>::Type::kCount * stride, 0.0);
  roots_.assign(stride, 0.0);
  excess_.resize(stride);
  reachable_.assign(stride, kInfinity);
  const Front front{state_.data(),
                    stride,
                    roots_.data(),
                    values_.data(),
                    excess_.data(),
                    reachable_.data(),
                    0,
                    0};
  const Band band{values_.data(), first_.data(), row_.data()};
  if (placement.grid()) {
    dispatch<FillBand<Moments, GridCost>>(cells.data(), n, limit, GridCost{*placement.grid()},
                                          front, reachable_.data(), band);
  } else {
    dispatch<FillBand<Moments, FreeCost>>(cells.data(), n, limit, FreeCost{}, front,
                                          reachable_.data(), band);
  }
}

template void IntervalCosts::fill(const std::vector<QuadraticMoments>&, double, const Placement&);
template void IntervalCosts::fill(const std::vector<QuarticMoments>&, double, const Placement&);

}  // namespace wkmeans
