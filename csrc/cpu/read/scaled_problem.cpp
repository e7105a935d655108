#include "cpu/read/scaled_problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/base/isa.h"
#include "math/rounding.h"

namespace wkmeans {
namespace {

// The largest absolute value, or what is not a finite number where there is one: without their sign
// such numbers stand in the order of their bits, which are compared as integers in any order.
struct LargestMagnitude {
  static WKM_ALWAYS_INLINE double run(const float* values, std::int64_t count) {
    return largest<std::int32_t>(values, count);
  }
  static WKM_ALWAYS_INLINE double run(const double* values, std::int64_t count) {
    return largest<std::int64_t>(values, count);
  }

private:
  template <class Bits, class Real>
  static WKM_ALWAYS_INLINE double largest(const Real* values, std::int64_t count) {
    static_assert(sizeof(Bits) == sizeof(Real), "the bits of a number");
    constexpr Bits kNoSign = std::numeric_limits<Bits>::max();
    Bits most = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      Bits bits;
      std::memcpy(&bits, values + i, sizeof bits);
      bits &= kNoSign;
      most = bits > most ? bits : most;
    }
    Real value;
    std::memcpy(&value, &most, sizeof value);
    return static_cast<double>(value);
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
    const double of_block = dispatch<LargestMagnitude>(values, count);
    if (!std::isfinite(of_block)) return of_block;
    most = std::max(most, of_block);
  }
  return most;
}

template <class Real>
Magnitudes largest_among(const Problems& problems, std::int64_t problem, std::int64_t begin,
                         std::int64_t end) {
  std::vector<Real> own;
  const auto largest = [&](const Operand* operand, double where_absent) {
    return operand ? largest_of(*operand, problem, begin, end, own) : where_absent;
  };
  return {largest(problems.weights, 0.0), largest(problems.importance, 1.0),
          largest(problems.quartic_importance, 0.0), static_cast<double>(end - begin)};
}

template <class Real>
Magnitudes largest_as(const Problems& problems, std::int64_t problem, const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  std::vector<Magnitudes> found(static_cast<std::size_t>(chunk_count(n)));
  for_each_chunk(parallel, n, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    found[static_cast<std::size_t>(chunk)] = largest_among<Real>(problems, problem, begin, end);
  });
  Magnitudes all;
  for (const Magnitudes& of_chunk : found) all = larger_of(all, of_chunk);
  all.n_items = static_cast<double>(n);
  return all;
}

bool are_finite(const Magnitudes& largest) {
  return std::isfinite(largest.weight) && std::isfinite(largest.importance) &&
         std::isfinite(largest.quartic_importance);
}

// Whether the weights alone leave room for any float as an importance, and the first importances
// are more than next to nothing, so that the rest need not be read.
template <class Real>
bool are_in_range_by_weights(const Problems& problems, std::int64_t problem,
                             const Parallel& parallel) {
  const std::int64_t n = problems.weights->n_items();
  if (is_double(problems.importance) || is_double(problems.quartic_importance) || n <= kItemBlock)
    return false;
  Magnitudes least = largest_among<Real>(problems, problem, 0, kItemBlock);
  Magnitudes most = largest_as<Real>({problems.weights, nullptr, nullptr}, problem, parallel);
  if (!are_finite(least) || !are_finite(most)) return false;
  least.weight = most.weight;
  least.n_items = most.n_items;
  most.importance = most.quartic_importance = std::numeric_limits<float>::max();
  return are_in_range(least, most);
}

template <class Real>
std::optional<Magnitudes> largest_where_needed(const Problems& problems, std::int64_t problem,
                                               const Parallel& parallel) {
  if (are_in_range_by_weights<Real>(problems, problem, parallel)) return std::nullopt;
  const Magnitudes largest = largest_as<Real>(problems, problem, parallel);
  return are_finite(largest) ? std::optional(largest) : std::nullopt;
}

// Values times a power of two; notes whether any lost a digit.
class Scaling {
public:
  explicit Scaling(int exponent) : exponent_(exponent) {}

  double operator()(double value) {
    const double scaled = std::ldexp(value, exponent_);
    is_exact_ = is_exact_ && std::ldexp(scaled, -exponent_) == value;
    return scaled;
  }

  // An importance stays one, however light.
  double importance(double value) {
    const double scaled = (*this)(value);
    return value > 0.0 ? std::max(scaled, kLeast) : scaled;
  }

  bool is_exact() const { return is_exact_; }

  static constexpr double kLeast = std::numeric_limits<double>::denorm_min();

private:
  int exponent_;
  bool is_exact_ = true;
};

}  // namespace

std::optional<ScaledProblem> ScaledProblem::where_needed(const Problems& problems,
                                                         std::int64_t problem,
                                                         const Parallel& parallel) {
  if (!may_leave_range(problems)) return std::nullopt;
  std::optional<Magnitudes> found;
  with_real(problems, [&](auto real) {
    found = largest_where_needed<decltype(real)>(problems, problem, parallel);
  });
  if (!found) return std::nullopt;
  Magnitudes largest = *found;
  const bool unit_importance = largest.importance == 0.0 && largest.quartic_importance == 0.0;
  if (unit_importance) largest.importance = 1.0;
  const PowersOfTwo powers = powers_to_range(largest);
  if (powers.change_nothing()) return std::nullopt;
  return ScaledProblem(problems, problem, unit_importance, largest, powers);
}

std::optional<ScaledProblem> ScaledProblem::lowered_to(double cost, const Problems& problems,
                                                       std::int64_t problem) const {
  // A weight so heavy, and further than 2^-200 of the widest distance from its centroid, costs
  // more.
  constexpr int kOutweighs = 400;
  if (!(cost > 0.0) || std::isinf(cost)) return std::nullopt;
  const int heavy = std::ilogb(cost) + kOutweighs;
  const int distance = CostExponents(largest_).weight + 1;
  const auto lowered = [&](double value, int power) {
    return std::min(value, std::max(std::ldexp(1.0, heavy - power * distance), Scaling::kLeast));
  };
  Magnitudes largest = largest_;
  largest.importance = lowered(largest.importance, 2);
  largest.quartic_importance = lowered(largest.quartic_importance, 4);
  if (largest.importance == largest_.importance &&
      largest.quartic_importance == largest_.quartic_importance)
    return std::nullopt;
  std::optional<ScaledProblem> closer(
      ScaledProblem(problems, problem, false, largest, powers_to_range(largest)));
  closer->is_lowered_ = true;
  return closer;
}

ScaledProblem::ScaledProblem(const Problems& problems, std::int64_t problem, bool unit_importance,
                             const Magnitudes& largest, const PowersOfTwo& powers)
    : powers_(powers), largest_(largest), unit_importance_(unit_importance) {
  const bool quartic = problems.quartic();
  const std::int64_t n = problems.weights->n_items();
  const auto size = static_cast<std::size_t>(n);
  items_.weight.reserve(size);
  items_.importance.reserve(size);
  items_.quartic_importance.reserve(quartic ? size : 0);
  Scaling weight(powers.weight);
  Scaling importance(powers.importance());
  Scaling quartic_importance(powers.quartic_importance());
  ItemReader<double> reader;
  for (std::int64_t begin = 0; begin < n; begin += kItemBlock) {
    stop_if_interrupted();
    const ItemRun<double> items =
        reader.read(problems, problem, begin, std::min(kItemBlock, n - begin));
    check_items(problems, items);
    for (std::int64_t i = 0; i < items.count; ++i) {
      items_.weight.push_back(weight(items.weight[i]));
      items_.importance.push_back(importance.importance(
          std::min(unit_importance ? 1.0 : items.importance[i], largest.importance)));
      if (!quartic) continue;
      items_.quartic_importance.push_back(quartic_importance.importance(
          std::min(items.quartic_importance[i], largest.quartic_importance)));
    }
  }
  if (!(weight.is_exact() && importance.is_exact() && quartic_importance.is_exact())) {
    lost_ =
        lost_in_scaling(static_cast<double>(n), std::ldexp(largest.weight, powers.weight), quartic);
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

double ScaledProblem::unscaled_cost(double cost) const { return figures().unscaled_cost(cost); }

bool ScaledProblem::may_be_lost(double cost) const {
  return !unit_importance_ && (figures().may_be_lost(cost) || cost < kUnderflowing);
}

double ScaledProblem::unscaled_bound(double bound) const { return figures().unscaled_bound(bound); }

ScaledFigures ScaledProblem::figures() const { return {powers_.cost, lost_}; }

}  // namespace wkmeans
