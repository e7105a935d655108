#include "cpu/products/squared_products.h"

#include <doctest/doctest.h>

#include "support.h"

using namespace wkmeans;
using namespace wkmeans::testing;

namespace {

struct Sizes {
  std::int64_t n_seeds, n_examples, n_groups, left_rows, right_rows, n_positions;
};

// Odd sizes, full and partial tiles, more positions and columns than are taken at one time.
constexpr Sizes kSizes[] = {
    {1, 3, 1, 5, 7, 1},     {1, 300, 2, 100, 20, 1}, {4, 5, 2, 7, 19, 1},    {2, 2, 1, 3, 700, 1},
    {3, 4, 2, 13, 33, 50},  {2, 2, 1, 130, 330, 9},  {3, 2, 1, 10, 3, 1030}, {2, 3, 1, 1, 1, 3},
    {2, 1, 1, 6, 16, 1024}, {1, 2, 1, 4, 4, 0},
};

template <class T>
struct Problem {
  SquaredProducts<T> products;
  std::vector<T> left_values, right_values, signs;
};

// Values one after another in the order (seed, example, group, position, row), or with rows and
// positions exchanged.
template <class T>
ProductFactor<T> factor(std::vector<T>& values, const Sizes& sizes, std::int64_t n_rows,
                        bool is_shared, bool rows_are_contiguous, Random& random) {
  const std::int64_t group = n_rows * sizes.n_positions;
  const std::int64_t example = group * sizes.n_groups;
  const std::int64_t seed = example * sizes.n_examples;
  values.resize(static_cast<std::size_t>(seed * (is_shared ? 1 : sizes.n_seeds) + 1));
  for (T& value : values) value = static_cast<T>(random.normal());
  ProductFactor<T> made{values.data(), is_shared, seed, example, group, {}, {}};
  for (std::int64_t row = 0; row < n_rows; ++row) {
    made.row_offsets.push_back(rows_are_contiguous ? row : row * sizes.n_positions);
  }
  for (std::int64_t position = 0; position < sizes.n_positions; ++position) {
    made.position_offsets.push_back(rows_are_contiguous ? position * n_rows : position);
  }
  return made;
}

template <class T>
Problem<T> problem(const Sizes& sizes, SquareReduction reduction, bool left_is_shared,
                   bool has_signs, Random& random) {
  Problem<T> made;
  made.products.left =
      factor(made.left_values, sizes, sizes.left_rows, left_is_shared, has_signs, random);
  made.products.right =
      factor(made.right_values, sizes, sizes.right_rows, !left_is_shared, !has_signs, random);
  made.products.n_seeds = sizes.n_seeds;
  made.products.n_examples = sizes.n_examples;
  made.products.n_groups = sizes.n_groups;
  made.products.reduction = reduction;
  made.products.scale = 0.5;
  made.signs.resize(static_cast<std::size_t>(sizes.n_seeds * sizes.n_examples));
  for (T& sign : made.signs) sign = static_cast<T>(random.below(3)) - T{1};
  if (has_signs) made.products.signs = made.signs.data();
  return made;
}

template <class T>
double value_of(const ProductFactor<T>& factor, std::int64_t seed, std::int64_t example,
                std::int64_t group, std::size_t row, std::size_t position) {
  return factor.at(factor.is_shared ? 0 : seed, example,
                   group)[factor.row_offsets[row] + factor.position_offsets[position]];
}

template <class T>
double slow_total(const SquaredProducts<T>& products, std::int64_t group, std::size_t row,
                  std::size_t column) {
  double total = 0.0;
  for (std::int64_t example = 0; example < products.n_examples; ++example) {
    double sum = 0.0;
    double fourths = 0.0;
    for (std::int64_t seed = 0; seed < products.n_seeds; ++seed) {
      double gradient = 0.0;
      for (std::size_t p = 0; p < products.left.position_offsets.size(); ++p) {
        gradient += value_of(products.left, seed, example, group, row, p) *
                    value_of(products.right, seed, example, group, column, p);
      }
      const double square = double{products.sign(seed, example)} * gradient * gradient;
      sum += square;
      fourths += square * square;
    }
    const auto n = static_cast<double>(products.n_seeds);
    if (products.reduction == SquareReduction::first) total += sum;
    if (products.reduction == SquareReduction::second) total += sum * sum;
    if (products.reduction == SquareReduction::pairs) total += (sum * sum - fourths) * n / (n - 1);
  }
  return products.scale * total;
}

template <class T>
std::vector<double> totals_of(const SquaredProducts<T>& products, bool factorise, int n_threads) {
  const auto n = static_cast<std::size_t>(products.n_groups * products.left.n_rows() *
                                          products.right.n_rows());
  std::vector<double> totals(n, 1.0);
  if (factorise) {
    add_products_of_squares(products, Parallel(n_threads), totals.data());
  } else {
    add_squared_products(products, Parallel(n_threads), totals.data());
  }
  return totals;
}

template <class T>
void check(const SquaredProducts<T>& products, bool factorise, double tolerance) {
  const std::vector<double> totals = totals_of(products, factorise, 1);
  for (const int n_threads : kThreadCounts) {
    CHECK(totals_of(products, factorise, n_threads) == totals);
  }
  std::vector<double> expected;
  double largest = 0.0;
  for (std::int64_t group = 0; group < products.n_groups; ++group) {
    for (std::size_t row = 0; row < products.left.row_offsets.size(); ++row) {
      for (std::size_t column = 0; column < products.right.row_offsets.size(); ++column) {
        expected.push_back(1.0 + slow_total(products, group, row, column));
        largest = std::max(largest, std::fabs(expected.back()));
      }
    }
  }
  double worst = 0.0;
  for (std::size_t i = 0; i < totals.size(); ++i) {
    worst = std::max(worst, std::fabs(totals[i] - expected[i]));
  }
  CHECK(worst <= tolerance * largest);
}

}  // namespace

TEST_CASE_TEMPLATE("squared products are what multiplying them out gives", T, float, double) {
  constexpr double kTolerance = sizeof(T) == 4 ? 4e-6 : 1e-14;
  Random random(7);
  for (const Sizes& sizes : kSizes) {
    CAPTURE(sizes.n_positions);
    CAPTURE(sizes.right_rows);
    for (const auto reduction :
         {SquareReduction::first, SquareReduction::second, SquareReduction::pairs}) {
      if (reduction == SquareReduction::pairs && sizes.n_seeds < 2) continue;
      for (const bool left_is_shared : {false, true}) {
        for (const bool has_signs : {false, true}) {
          const Problem<T> made = problem<T>(sizes, reduction, left_is_shared, has_signs, random);
          check(made.products, false, kTolerance);
          if (sizes.n_positions == 1 && reduction != SquareReduction::pairs) {
            check(made.products, true, kTolerance);
          }
        }
      }
    }
  }
}
