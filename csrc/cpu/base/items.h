#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/operand.h"

namespace wkmeans {

// Items that stay in the first caches from one loop over them to the next.
constexpr std::int64_t kItemBlock = 1024;

// Weights and importances of neighbouring items. Real: float or double.
template <class Real>
struct ItemRun {
  std::int64_t count = 0;
  const Real* weight = nullptr;  // null where only importances were read
  const Real* importance = nullptr;
  const Real* quartic_importance = nullptr;  // null where the objective is quadratic
};

// One operand's values: where they lie if they lie there as Real, one behind another, else read
// into `own`.
template <class Real>
const Real* read_values(const Operand& operand, std::int64_t problem, std::int64_t begin,
                        std::int64_t count, std::vector<Real>& own);

// Reads items, where they lie or into memory of its own, which the next run is read into, too.
template <class Real>
class ItemReader {
public:
  ItemRun<Real> read(const Problems& problems, std::int64_t problem, std::int64_t begin,
                     std::int64_t count);
  ItemRun<Real> read_importances(const Problems& problems, std::int64_t problem, std::int64_t begin,
                                 std::int64_t count);

private:
  std::vector<Real> weight_, importance_, quartic_importance_;
};

// Throws InvalidValue, naming the operand, where a weight is not finite or an importance not finite
// and non-negative.
template <class Real>
void check_items(const Problems& problems, const ItemRun<Real>& items);

bool are_floats(const Problems& problems);

// visit(Real{}): of the types that hold all of a problem's values the narrowest.
template <class Visit>
void with_real(const Problems& problems, Visit&& visit) {
  if (are_floats(problems)) {
    visit(float{});
  } else {
    visit(double{});
  }
}

// Items kept apart from where they were read.
struct KeptItems {
  std::vector<double> weight;
  std::vector<double> importance;
  std::vector<double> quartic_importance;  // empty where the objective is quadratic
};

void append(const KeptItems& items, KeptItems& to);

// Those of the numbers `chosen`, counted from `begin`.
void append_chosen(const Problems& problems, std::int64_t problem, std::int64_t begin,
                   const std::uint32_t* chosen, std::int64_t n_chosen, KeptItems& to);

}  // namespace wkmeans
