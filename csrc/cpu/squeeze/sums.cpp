#include "cpu/squeeze/sums.h"

#include <algorithm>
#include <limits>

namespace wkmeans {
namespace {

template <class Sums>
struct RunSums {
  static WKM_ALWAYS_INLINE void run(const double* x, const double* importance,
                                    const double* quartic_importance, std::size_t n,
                                    double* columns, std::size_t stride) {
    double sums[Sums::kCount] = {};
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t f = 0; f < Sums::kCount; ++f) columns[f * stride + i] = sums[f];
      Sums::add(x[i], importance[i], quartic_importance ? quartic_importance[i] : 0.0, sums);
    }
    for (std::size_t f = 0; f < Sums::kCount; ++f) columns[f * stride + n] = sums[f];
  }
};

}  // namespace

template <class Moments>
void SqueezeSums<Moments>::build(const Points& points) {
  const std::size_t n = points.size();
  const double centre = points.weight[n / 2];
  x_.resize(n);
  for (std::size_t i = 0; i < n; ++i) x_[i] = points.weight[i] - centre;
  stride_ = n + 1;
  sums_.resize(Sums::kCount * stride_);
  dispatch<RunSums<Sums>>(x_.data(), points.importance.data(),
                          points.quartic() ? points.quartic_importance.data() : nullptr, n,
                          sums_.data(), stride_);
  // Sums of absolute values: odd powers change sign at the centre.
  double all[Sums::kCount];
  for (std::size_t f = 0; f < Sums::kCount; ++f) {
    const double* column = sums_.data() + f * stride_;
    all[f] = (column[n] - column[n / 2]) + std::fabs(column[n / 2]);
  }
  radius_ = std::max(std::fabs(x_.front()), std::fabs(x_.back()));
  // A running sum rounds once a point, terms and estimates a few dozen times more.
  const double relative =
      static_cast<double>(n + 64) * 0.5 * std::numeric_limits<double>::epsilon();
  cost_error_ = relative * Sums::cost_scale(all, radius_);
  residual_error_ = relative * Sums::residual_scale(all, radius_);
  stiffness_error_ = relative * Sums::stiffness_scale(all, radius_);
  importance_error_ = relative * all[0];
  quartic_importance_error_ = relative * Sums::quartic_importance_scale(all);
  pull_error_ = relative * Sums::pull_scale(all, radius_);
  quartic_pull_error_ = relative * Sums::quartic_pull_scale(all, radius_);
  x_error_ = 8.0 * std::numeric_limits<double>::epsilon() * radius_;
}

template class SqueezeSums<QuadraticMoments>;
template class SqueezeSums<QuarticMoments>;

}  // namespace wkmeans
