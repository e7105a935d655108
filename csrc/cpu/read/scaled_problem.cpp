#include "cpu/read/scaled_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/base/isa.h"

namespace wkmeans {
namespace {

// The largest absolute value; what is not a number counts for nothing.
struct LargestMagnitude {
  template <class Real>
  static WKM_ALWAYS_INLINE Real run(const Real* values, std::int64_t count) {
    constexpr std::int64_t kLanes = 16;
    Real lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = larger(lanes[lane], std::fabs(values[i + lane]));
    }
    for (; i < count; ++i) lanes[0] = larger(lanes[0], std::fabs(values[i]));
    Real most{};
    for (const Real lane : lanes) most = larger(most, lane);
    return most;
  }

  template <class Real>
  static WKM_ALWAYS_INLINE Real larger(Real a, Real b) {
    return b > a ? b : a;
  }
};

bool is_double(const Operand* operand) { return operand && operand->dtype() == DType::float64; }

// Whether these dtypes hold values whose costs leave the range. Those of float32 importances of
// float32 weights do not, nor do the fourth powers of float16 weights.
bool may_leave_range(const Problems& problems) {
  return is_double(problems.weights) || is_double(problems.importance) ||
         is_double(problems.quartic_importance) ||
         (problems.quartic() && problems.weights->dtype() != DType::float16);
}

Magnitudes larger_of(const Magnitudes& a, const Magnitudes& b) {
  return {std::max(a.weight, b.weight), std::max(a.importance, b.importance),
          std::max(a.quartic_importance, b.quartic_importance), a.n_items};
}

template <class Real>
double largest_of(const Operand& operand, std::int64_t problem, std::int64_t begin,
                  std::int64_t end, std::vector<Real>& own) {
  double most = 0.0;
  for (; begin < end; begin += kItemBlock) {
    const std::int64_t count = std::min(kItemBlock, end - begin);
    const Real* values = read_values(operand, problem, begin, count, own);
    most = std::max(most, static_cast<double>(dispatch<LargestMagnitude>(values, count)));
  }
  return most;
}

template <class Real>
Magnitudes largest_as(const Problems& problems, std::int64_t problem, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  std::vector<Magnitudes> found(static_cast<std::size_t>(chunk_count(n)));
  for_each_chunk(parallel, n, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    std::vector<Real> own;
    const auto largest = [&](const Operand* operand, double where_absent) {
      return operand ? largest_of(*operand, problem, begin, end, own) : where_absent;
    };
    found[static_cast<std::size_t>(chunk)] = {largest(problems.weights, 0.0),
                                              largest(problems.importance, 1.0),
                                              largest(problems.quartic_importance, 0.0), 0.0};
  });
  Magnitudes all;
  for (const Magnitudes& of_chunk : found) all = larger_of(all, of_chunk);
  all.n_items = static_cast<double>(n);
  return all;
}

// An importance stays one, however light.
double scaled_importance(double value, int exponent) {
  const double scaled = std::ldexp(value, exponent);
  return value > 0.0 ? std::max(scaled, std::numeric_limits<double>::denorm_min()) : scaled;
}

// What importances that would have vanished, and roundings of weights that did, can come to.
constexpr double kLostToScaling = 0x1p-700;

}  // namespace

std::optional<ScaledProblem> ScaledProblem::where_needed(const Problems& problems,
                                                         std::int64_t problem,
                                                         const Parallel& parallel) {
  if (!may_leave_range(problems)) return std::nullopt;
  Magnitudes largest;
  with_real(problems,
            [&](auto real) { largest = largest_as<decltype(real)>(problems, problem, parallel); });
  const auto is_finite = [](double value) { return std::isfinite(value); };
  if (!is_finite(largest.weight) || !is_finite(largest.importance) ||
      !is_finite(largest.quartic_importance))
    return std::nullopt;
  const bool unit_importance = largest.importance == 0.0 && largest.quartic_importance == 0.0;
  if (unit_importance) largest.importance = 1.0;
  const PowersOfTwo powers = powers_to_range(largest);
  if (powers.change_nothing()) return std::nullopt;
  return ScaledProblem(problems, problem, unit_importance, powers);
}

ScaledProblem::ScaledProblem(const Problems& problems, std::int64_t problem, bool unit_importance,
                             const PowersOfTwo& powers)
    : powers_(powers) {
  const bool quartic = problems.quartic();
  const std::int64_t n = problems.weights->n_items();
  const auto size = static_cast<std::size_t>(n);
  items_.weight.reserve(size);
  items_.importance.reserve(size);
  items_.quartic_importance.reserve(quartic ? size : 0);
  ItemReader<double> reader;
  for (std::int64_t begin = 0; begin < n; begin += kItemBlock) {
    stop_if_interrupted();
    const ItemRun<double> items =
        reader.read(problems, problem, begin, std::min(kItemBlock, n - begin));
    check_items(problems, items);
    for (std::int64_t i = 0; i < items.count; ++i) {
      items_.weight.push_back(std::ldexp(items.weight[i], powers.weight));
      const double importance = unit_importance ? 1.0 : items.importance[i];
      items_.importance.push_back(scaled_importance(importance, powers.importance()));
      if (!quartic) continue;
      items_.quartic_importance.push_back(
          scaled_importance(items.quartic_importance[i], powers.quartic_importance()));
    }
  }
  weights_ = Operand::of("weights", items_.weight);
  importance_ = Operand::of("importance", items_.importance);
  if (quartic) quartic_importance_ = Operand::of("quartic_importance", items_.quartic_importance);
}

Problems ScaledProblem::view() const {
  const auto address = [](const std::optional<Operand>& operand) {
    return operand ? &*operand : nullptr;
  };
  return {address(weights_), address(importance_), address(quartic_importance_)};
}

double ScaledProblem::scaled_weight(double value) const {
  constexpr double kLargest = std::numeric_limits<double>::max();
  return std::clamp(std::ldexp(value, powers_.weight), -kLargest, kLargest);
}

double ScaledProblem::unscaled_weight(double value) const {
  return std::ldexp(value, -powers_.weight);
}

double ScaledProblem::unscaled_cost(double cost) const {
  const double unscaled = std::ldexp(cost, -powers_.cost);
  const bool fell_short = std::ldexp(unscaled, powers_.cost) < cost;  // among the denormal
  return fell_short ? unscaled + std::numeric_limits<double>::denorm_min() : unscaled;
}

bool ScaledProblem::may_be_lost(double cost) { return cost < kLostToScaling; }

double ScaledProblem::unscaled_bound(double bound) const {
  if (may_be_lost(bound)) return 0.0;
  const double unscaled = std::ldexp(bound, -powers_.cost);
  if (std::isinf(unscaled)) return std::numeric_limits<double>::max();
  const bool is_beyond = std::ldexp(unscaled, powers_.cost) > bound;
  return is_beyond ? unscaled - std::numeric_limits<double>::denorm_min() : unscaled;
}

}  // namespace wkmeans
