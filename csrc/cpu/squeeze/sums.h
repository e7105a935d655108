#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "cpu/base/buffer.h"
#include "cpu/base/isa.h"
#include "cpu/read/points.h"
#include "math/moments.h"

namespace wkmeans {

// Running sums of powers over sorted points, about one of them: the sums over any interval are
// differences, and its cost as one cluster is a few operations away. Fast, and good to what
// `SqueezeSums::cost_error` says, which is why they only ever serve to exclude.

// What the sums over an interval say of it as one cluster.
struct Estimate {
  double centroid;   // from the centre of the sums
  double cost;       // about that centroid
  double residual;   // half the cost's slope there
  double stiffness;  // half the cost's least curvature
};

// Columns of running sums: column f is at data + f * stride, entry i sums what comes before i. No
// point is further than `radius` from the centre.
struct SumColumns {
  const double* data;
  std::size_t stride;
  double radius;
};

struct QuadraticSums {
  static constexpr std::size_t kCount = 3;
  static constexpr int kMostRounds = 1;  // of estimates, each from the centroid of the one before
  double i0, i1, i2;                     // sum I x^p

  static WKM_ALWAYS_INLINE QuadraticSums between(SumColumns sums, std::size_t from,
                                                 std::size_t to) {
    const auto over = [&](std::size_t f) {
      return sums.data[f * sums.stride + to] - sums.data[f * sums.stride + from];
    };
    return {over(0), over(1), over(2)};
  }

  static WKM_ALWAYS_INLINE void add(double x, double i, double /*h*/, double* sums) {
    const double first = i * x;
    sums[0] += i;
    sums[1] += first;
    sums[2] += first * x;
  }

  // `guess`: a centroid nearby, where that must be searched.
  WKM_ALWAYS_INLINE Estimate estimate_from_afar(double guess) const { return estimate(guess); }
  WKM_ALWAYS_INLINE Estimate estimate(double /*guess*/) const {
    const double mean = i0 > 0.0 ? i1 / i0 : 0.0;
    const double cost = i2 - i1 * mean;
    return {mean, cost > 0.0 ? cost : 0.0, 0.0, i0};
  }

  // How far below the estimated cost the optimum may lie.
  static WKM_ALWAYS_INLINE double slack(const Estimate& /*estimate*/) { return 0.0; }

  // What a relative error of all sums comes to, from the sums of all points' absolute values, none
  // further than `radius` from the centre.
  static double cost_scale(const double* s, double radius) {
    return s[2] + radius * (2.0 * s[1] + radius * s[0]);
  }
  static double residual_scale(const double* s, double radius) { return s[1] + radius * s[0]; }
  static double stiffness_scale(const double* s, double /*radius*/) { return s[0]; }
  static double quartic_importance_scale(const double* /*s*/) { return 0.0; }
  static double pull_scale(const double* s, double radius) { return s[1] + radius * s[0]; }
  static double quartic_pull_scale(const double* /*s*/, double /*radius*/) { return 0.0; }

  double mean() const { return i0 > 0.0 ? i1 / i0 : 0.0; }
  double importance() const { return i0; }
  double quartic_importance() const { return 0.0; }
  // sum I (x - z) and sum H (x - z).
  double pull_from(double z) const { return i1 - z * i0; }
  double quartic_pull_from(double /*z*/) const { return 0.0; }
};

struct QuarticSums {
  static constexpr std::size_t kCount = 8;
  static constexpr int kMostRounds = 8;
  double i0, i1, i2;
  double h0, h1, h2, h3, h4;  // sum H x^p
  double radius;              // of the points

  static WKM_ALWAYS_INLINE QuarticSums between(SumColumns sums, std::size_t from, std::size_t to) {
    const auto over = [&](std::size_t f) {
      return sums.data[f * sums.stride + to] - sums.data[f * sums.stride + from];
    };
    return {over(0), over(1), over(2), over(3), over(4), over(5), over(6), over(7), sums.radius};
  }

  static WKM_ALWAYS_INLINE void add(double x, double i, double h, double* sums) {
    QuadraticSums::add(x, i, 0.0, sums);
    const double first = h * x;
    const double square = x * x;
    sums[3] += h;
    sums[4] += first;
    sums[5] += h * square;
    sums[6] += first * square;
    sums[7] += h * square * square;
  }

  WKM_ALWAYS_INLINE Estimate estimate_from_afar(double guess) const {
    return estimate(stepped(stepped(stepped(guess))));
  }

  // One of Newton's steps: how far it is from the root shows in the residual.
  WKM_ALWAYS_INLINE Estimate estimate(double guess) const {
    const double c = stepped(guess);
    const double cost =
        (i2 + h4) + c * (c * ((i0 + 6.0 * h2) + c * (h0 * c - 4.0 * h1)) - 2.0 * (i1 + 2.0 * h3));
    const double mean = h0 > 0.0 ? h1 / h0 : 0.0;
    const double least = (i0 + 6.0 * h2) - 6.0 * h1 * mean;
    return {c, cost > 0.0 ? cost : 0.0, force(c), least > 0.0 ? least : 0.0};
  }

  // Half the cost's slope.
  WKM_ALWAYS_INLINE double force(double c) const {
    return c * ((i0 + 6.0 * h2) + c * (2.0 * h0 * c - 6.0 * h1)) - (i1 + 2.0 * h3);
  }

  WKM_ALWAYS_INLINE double stepped(double c) const {
    const double curvature = (i0 + 6.0 * h2) + 6.0 * c * (h0 * c - 2.0 * h1);
    const double step = force(c) / (curvature > 0.0 ? curvature : 1.0);
    return among_points(curvature > 0.0 ? c - step : c);
  }

  // Further out, where sums that have lost their digits may point, rounding has no bound.
  WKM_ALWAYS_INLINE double among_points(double c) const {
    const double least = c > -radius ? c : -radius;
    return least < radius ? least : radius;
  }

  static WKM_ALWAYS_INLINE double slack(const Estimate& e) {
    const double step = e.residual / (e.stiffness > 0.0 ? e.stiffness : 1.0);
    const double below = std::fabs(e.residual * step);
    const bool is_near = e.stiffness > 0.0 && below < 0.01 * e.cost;
    return is_near ? below : e.cost;
  }

  static double cost_scale(const double* s, double radius) {
    return QuadraticSums::cost_scale(s, radius) + s[7] +
           radius * (4.0 * s[6] + radius * (6.0 * s[5] + radius * (4.0 * s[4] + radius * s[3])));
  }
  static double residual_scale(const double* s, double radius) {
    return s[1] + radius * s[0] + 8.0 * (s[6] + radius * (s[5] + radius * (s[4] + radius * s[3])));
  }
  static double stiffness_scale(const double* s, double radius) {
    return s[0] + 12.0 * (s[5] + radius * (s[4] + radius * s[3]));
  }
  static double quartic_importance_scale(const double* s) { return s[3]; }
  static double pull_scale(const double* s, double radius) {
    return QuadraticSums::pull_scale(s, radius);
  }
  static double quartic_pull_scale(const double* s, double radius) { return s[4] + radius * s[3]; }

  double mean() const { return among_points(h0 > 0.0 ? h1 / h0 : (i0 > 0.0 ? i1 / i0 : 0.0)); }
  double importance() const { return i0; }
  double quartic_importance() const { return h0; }
  double pull_from(double z) const { return i1 - z * i0; }
  double quartic_pull_from(double z) const { return h1 - z * h0; }
};

template <class Moments>
struct SumsOf;
template <>
struct SumsOf<QuadraticMoments> {
  using Type = QuadraticSums;
};
template <>
struct SumsOf<QuarticMoments> {
  using Type = QuarticSums;
};

template <class Moments>
class SqueezeSums {
public:
  using Sums = typename SumsOf<Moments>::Type;

  void build(const Points& points);

  std::size_t size() const { return x_.size(); }
  const double* x() const { return x_.data(); }  // the weights, from the centre of the sums
  SumColumns columns() const { return {sums_.data(), stride_, radius_}; }
  Estimate estimate(std::size_t begin, std::size_t end) const {
    return Sums::between(columns(), begin, end).estimate_from_afar(middle(begin, end));
  }
  double middle(std::size_t begin, std::size_t end) const {
    return 0.5 * (x_[begin] + x_[end - 1]);
  }

  // How far rounding can move an interval's cost, at most.
  double cost_error() const { return cost_error_; }

  // How far rounding can move a weight or a point halfway between two.
  double x_error() const { return x_error_; }

  // How far rounding can move sums of importances.
  double importance_error() const { return importance_error_; }
  double quartic_importance_error() const { return quartic_importance_error_; }

  // The same of a pull from within the points.
  double pull_error() const { return pull_error_; }
  double quartic_pull_error() const { return quartic_pull_error_; }

  // How far from an estimated centroid the true one can be, at most.
  double reach(const Estimate& e) const {
    const double stiffness = e.stiffness - stiffness_error_;
    return stiffness > 0.0 ? (std::fabs(e.residual) + residual_error_) / stiffness + x_error_
                           : std::numeric_limits<double>::infinity();
  }

private:
  Buffer<double> x_, sums_;
  std::size_t stride_ = 0;
  double radius_ = 0.0;
  double cost_error_ = 0.0, residual_error_ = 0.0, stiffness_error_ = 0.0, x_error_ = 0.0;
  double importance_error_ = 0.0, quartic_importance_error_ = 0.0;
  double pull_error_ = 0.0, quartic_pull_error_ = 0.0;
};

}  // namespace wkmeans
