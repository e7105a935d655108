#include "cpu/base/items.h"

#include <limits>

#include "cpu/base/isa.h"

namespace wkmeans {
namespace {

// Whether all of `values` are finite and not less than `low`; NaN is not.
struct AllValid {
  template <class Real>
  static WKM_ALWAYS_INLINE bool run(const Real* values, std::int64_t count, Real low) {
    constexpr Real kLargest = std::numeric_limits<Real>::max();
    std::int64_t n_bad = 0;
    for (std::int64_t i = 0; i < count; ++i) n_bad += !(values[i] >= low && values[i] <= kLargest);
    return n_bad == 0;
  }
};

template <class Real>
void check(const Operand* operand, const Real* values, std::int64_t count, Real low) {
  if (operand && values && !dispatch<AllValid>(values, count, low))
    throw InvalidValue(operand->name());
}

bool is_float(const Operand* operand) {
  return operand == nullptr || operand->dtype() != DType::float64;
}

}  // namespace

template <class Real>
const Real* read_values(const Operand& operand, std::int64_t problem, std::int64_t begin,
                        std::int64_t count, std::vector<Real>& own) {
  if (const auto there = operand.in_place<Real>(problem, begin, count)) return *there;
  own.resize(static_cast<std::size_t>(count));
  operand.load(problem, begin, count, own.data());
  return own.data();
}

template <class Real>
ItemRun<Real> ItemReader<Real>::read_importances(const Problems& problems, std::int64_t problem,
                                                 std::int64_t begin, std::int64_t count) {
  ItemRun<Real> items;
  items.count = count;
  if (problems.importance) {
    items.importance = read_values(*problems.importance, problem, begin, count, importance_);
  } else {
    importance_.assign(static_cast<std::size_t>(count), Real{1});
    items.importance = importance_.data();
  }
  if (problems.quartic()) {
    items.quartic_importance =
        read_values(*problems.quartic_importance, problem, begin, count, quartic_importance_);
  }
  return items;
}

template <class Real>
ItemRun<Real> ItemReader<Real>::read(const Problems& problems, std::int64_t problem,
                                     std::int64_t begin, std::int64_t count) {
  ItemRun<Real> items = read_importances(problems, problem, begin, count);
  items.weight = read_values(*problems.weights, problem, begin, count, weight_);
  return items;
}

template <class Real>
void check_items(const Problems& problems, const ItemRun<Real>& items) {
  check(problems.weights, items.weight, items.count, std::numeric_limits<Real>::lowest());
  check(problems.importance, items.importance, items.count, Real{0});
  check(problems.quartic_importance, items.quartic_importance, items.count, Real{0});
}

bool are_floats(const Problems& problems) {
  return is_float(problems.weights) && is_float(problems.importance) &&
         is_float(problems.quartic_importance);
}

void append(const KeptItems& items, KeptItems& to) {
  const auto append_values = [](const std::vector<double>& values, std::vector<double>& all) {
    all.insert(all.end(), values.begin(), values.end());
  };
  append_values(items.weight, to.weight);
  append_values(items.importance, to.importance);
  append_values(items.quartic_importance, to.quartic_importance);
}

void append_chosen(const Problems& problems, std::int64_t problem, std::int64_t begin,
                   const std::uint32_t* chosen, std::int64_t n_chosen, KeptItems& to) {
  const auto append_values = [&](const Operand* operand, std::vector<double>& values) {
    const std::size_t size = values.size();
    values.resize(size + static_cast<std::size_t>(n_chosen), 1.0);
    if (operand) operand->gather(problem, begin, chosen, n_chosen, values.data() + size);
  };
  append_values(problems.weights, to.weight);
  append_values(problems.importance, to.importance);
  if (problems.quartic()) append_values(problems.quartic_importance, to.quartic_importance);
}

template const float* read_values(const Operand&, std::int64_t, std::int64_t, std::int64_t,
                                  std::vector<float>&);
template const double* read_values(const Operand&, std::int64_t, std::int64_t, std::int64_t,
                                   std::vector<double>&);
template class ItemReader<float>;
template class ItemReader<double>;
template void check_items(const Problems&, const ItemRun<float>&);
template void check_items(const Problems&, const ItemRun<double>&);

}  // namespace wkmeans
