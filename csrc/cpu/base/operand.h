#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace wkmeans {

enum class DType { float16, bfloat16, float32, float64 };

std::size_t size_of(DType dtype);

// One strided dimension of an array; strides are in bytes, 0 where the array is broadcast.
struct Dimension {
  std::int64_t extent;
  std::int64_t stride;
};

// A caller's array seen as `problems x items`, read in place whatever its strides. Items follow the
// C order of the array's own axes.
class Operand {
public:
  Operand(std::string name, const std::byte* data, DType dtype,
          const std::vector<Dimension>& problem_dims, const std::vector<Dimension>& item_dims);

  // Values in memory of one's own, as one problem; they must outlive the operand.
  static Operand of(std::string name, const std::vector<double>& values) {
    const auto size = static_cast<std::int64_t>(values.size());
    const void* data = values.data();
    return {std::move(name),
            static_cast<const std::byte*>(data),
            DType::float64,
            {},
            {{size, static_cast<std::int64_t>(sizeof(double))}}};
  }

  const std::string& name() const { return name_; }
  DType dtype() const { return dtype_; }
  std::int64_t n_problems() const { return n_problems_; }
  std::int64_t n_items() const { return n_items_; }

  // Real: float, which holds all dtypes but float64, or double.
  template <class Real>
  void load(std::int64_t problem, std::int64_t begin, std::int64_t count, Real* out) const;

  // Items where they lie; nothing unless they lie there as Stored, one behind another.
  template <class Stored>
  std::optional<const Stored*> in_place(std::int64_t problem, std::int64_t begin,
                                        std::int64_t count) const;

  // Few of the items from `begin` on: those of the numbers `chosen`, counted from there.
  void gather(std::int64_t problem, std::int64_t begin, const std::uint32_t* chosen,
              std::int64_t n_chosen, double* out) const;

  // The items' own bits, of a dtype of 16 of them: where they lie, or copied to `spare` where they
  // do not lie one behind another.
  const std::uint16_t* bits(std::int64_t problem, std::int64_t begin, std::int64_t count,
                            std::uint16_t* spare) const;

private:
  // visit(address, stride, count) for each stretch of items that one stride leads through.
  template <class Visit>
  void for_each_run(std::int64_t problem, std::int64_t begin, std::int64_t count,
                    Visit&& visit) const;
  const std::byte* address(const std::vector<Dimension>& dims, std::int64_t index,
                           const std::byte* base) const;

  std::string name_;
  const std::byte* data_;
  DType dtype_;
  std::vector<Dimension> problem_dims_;
  std::vector<Dimension> item_dims_;  // adjacent dimensions fused where the strides allow
  std::int64_t n_problems_;
  std::int64_t n_items_;
};

// Some value of the named operand is not one the objective can take.
class InvalidValue : public std::invalid_argument {
public:
  using std::invalid_argument::invalid_argument;
};

// The weights with their importances; a missing operand is null: importance 1, quartic importance
// 0.
struct Problems {
  const Operand* weights;
  const Operand* importance;
  const Operand* quartic_importance;

  bool quartic() const { return quartic_importance != nullptr; }
};

}  // namespace wkmeans
