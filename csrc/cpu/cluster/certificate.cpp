#include "cpu/cluster/certificate.h"

#include <algorithm>
#include <cmath>

#include "cpu/base/items.h"
#include "cpu/base/parallel.h"
#include "cpu/label/codebook.h"

namespace wkmeans {
namespace {

bool every_point_is_a_centroid(const Points& points, const std::vector<double>& centroids) {
  const std::vector<std::size_t> boundaries = cluster_boundaries(points, centroids);
  std::size_t i = 0;
  for (std::size_t j = 0; j < boundaries.size(); ++j) {
    for (; i < boundaries[j]; ++i) {
      if (points.weight[i] != centroids[j]) return false;
    }
  }
  return true;
}

// a * b, noting whether it had to be rounded.
double product(double a, double b, bool& exact) {
  constexpr double kErrorUnderflows = 0x1p-960;  // and says nothing
  const double rounded = a * b;
  const bool has_error = std::fma(a, b, -rounded) != 0.0;
  exact = exact && !has_error && (rounded > kErrorUnderflows || a == 0.0 || b == 0.0);
  return rounded;
}

double difference(double a, double b, bool& exact) {
  const double rounded = a - b;
  const double b_part = a - rounded;
  exact = exact && b_part == b && rounded + b == a;
  return rounded;
}

}  // namespace

template <class Label>
bool is_exact(double cost, const Problems& problems, std::int64_t problem,
              const std::vector<double>& centroids, const Label* labels, bool unit_importance) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t n = problems.weights->n_items();
  if (n > kChunk || !std::isnormal(cost)) return false;
  // Multiples of the unit in the cost's last place add up to it exactly, in any order.
  const double unit = std::ldexp(1.0, std::ilogb(cost) - 52);
  ItemReader<double> reader;
  bool exact = true;
  const auto is_multiple = [&](double term) { return std::floor(term / unit) * unit == term; };
  for (std::int64_t begin = 0; begin < n && exact; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, n - begin);
    const ItemRun<double> items = reader.read(problems, problem, begin, count);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count) && exact; ++i) {
      const auto label = labels[begin + static_cast<std::int64_t>(i)];
      const double distance = difference(items.weight[i], centroids[label], exact);
      const double square = product(distance, distance, exact);
      const double importance = unit_importance ? 1.0 : items.importance[i];
      const double quadratic_term = product(importance, square, exact);
      exact = exact && is_multiple(quadratic_term);
      if (problems.quartic() && !unit_importance) {
        const double fourth = product(square, square, exact);
        const double quartic_term = product(items.quartic_importance[i], fourth, exact);
        exact = exact && is_multiple(quartic_term);
      }
    }
  }
  return exact;
}

template bool is_exact(double, const Problems&, std::int64_t, const std::vector<double>&,
                       const std::uint8_t*, bool);
template bool is_exact(double, const Problems&, std::int64_t, const std::vector<double>&,
                       const std::uint16_t*, bool);
template bool is_exact(double, const Problems&, std::int64_t, const std::vector<double>&,
                       const std::uint32_t*, bool);

template <class Label>
double direct_cost(const Problems& problems, std::int64_t problem,
                   const std::vector<double>& centroids, const Label* labels) {
  constexpr double kRoundingsOfATerm = 8.0;
  // A product with an importance is normal beyond: the least double has so many digits above it.
  constexpr double kFar = 0x1p52;
  const std::int64_t n = problems.weights->n_items();
  ItemReader<double> reader;
  double cost = 0.0;
  double hidden = 0.0;
  for (std::int64_t begin = 0; begin < n; begin += kItemBlock) {
    const ItemRun<double> items =
        reader.read(problems, problem, begin, std::min(kItemBlock, n - begin));
    for (std::int64_t i = 0; i < items.count; ++i) {
      const double distance = std::fabs(items.weight[i] - centroids[labels[begin + i]]);
      if (distance == 0.0) continue;
      const double reach = std::min(1.0 + distance, kFar);  // what a lost digit is multiplied by
      const double h = items.quartic_importance ? items.quartic_importance[i] : 0.0;
      if (items.importance[i] > 0.0) {
        cost += items.importance[i] * distance * distance;
        hidden += kHiddenByUnderflow * reach;
      }
      if (h > 0.0) {
        cost += h * distance * distance * distance * distance;
        hidden += kHiddenByUnderflow * reach * reach * reach;
      }
    }
  }
  return Rounding{relative_rounding(static_cast<double>(n) + kRoundingsOfATerm), hidden}.above(
      cost);
}

template double direct_cost(const Problems&, std::int64_t, const std::vector<double>&,
                            const std::uint8_t*);
template double direct_cost(const Problems&, std::int64_t, const std::vector<double>&,
                            const std::uint16_t*);
template double direct_cost(const Problems&, std::int64_t, const std::vector<double>&,
                            const std::uint32_t*);

double hidden_by_underflow(const Points& points, const std::vector<double>& centroids) {
  if (every_point_is_a_centroid(points, centroids)) return 0.0;
  double importance = 0.0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i == points.pin) continue;  // its centroid is exactly its own
    importance += points.importance[i] + (points.quartic() ? points.quartic_importance[i] : 0.0);
  }
  return kHiddenByUnderflow * (importance + static_cast<double>(points.size()));
}

}  // namespace wkmeans
