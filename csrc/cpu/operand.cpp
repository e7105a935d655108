#include "cpu/operand.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "cpu/isa.h"
#include "math/half.h"

namespace wkmeans {
namespace {

std::int64_t product_of_extents(const std::vector<Dimension>& dims) {
  std::int64_t product = 1;
  for (const Dimension& dim : dims) product *= dim.extent;
  return product;
}

// Drops extents of 1 and fuses neighbours that step through memory as one dimension would.
std::vector<Dimension> fused(const std::vector<Dimension>& dims) {
  std::vector<Dimension> out;
  for (const Dimension& dim : dims) {
    if (dim.extent == 1) continue;
    if (!out.empty() && out.back().stride == dim.stride * dim.extent) {
      out.back() = {out.back().extent * dim.extent, dim.stride};
    } else {
      out.push_back(dim);
    }
  }
  if (out.empty()) out.push_back({1, 0});
  return out;
}

struct ReadFloat16 {
  using Stored = std::uint16_t;
  static double convert(Stored bits) { return static_cast<double>(float16_to_float(bits)); }
};
struct ReadBfloat16 {
  using Stored = std::uint16_t;
  static double convert(Stored bits) { return static_cast<double>(bfloat16_to_float(bits)); }
};
struct ReadFloat32 {
  using Stored = float;
  static double convert(Stored value) { return static_cast<double>(value); }
};
struct ReadFloat64 {
  using Stored = double;
  static double convert(Stored value) { return value; }
};

template <class Read>
double read_one(const std::byte* at) {
  typename Read::Stored stored;
  std::memcpy(&stored, at, sizeof stored);  // a strided array need not be aligned
  return Read::convert(stored);
}

template <class Read>
struct ReadContiguous {
  static WKM_ALWAYS_INLINE void run(const std::byte* at, std::int64_t count, double* out) {
    for (std::int64_t i = 0; i < count; ++i) {
      typename Read::Stored stored;
      std::memcpy(&stored, at + i * static_cast<std::int64_t>(sizeof stored), sizeof stored);
      out[i] = Read::convert(stored);
    }
  }
};

template <class Read>
void read_run(const std::byte* at, std::int64_t stride, std::int64_t count, double* out) {
  if (stride == 0) {
    std::fill(out, out + count, read_one<Read>(at));
  } else if (stride == sizeof(typename Read::Stored)) {
    dispatch<ReadContiguous<Read>>(at, count, out);
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = read_one<Read>(at + i * stride);
  }
}

void read_run(DType dtype, const std::byte* at, std::int64_t stride, std::int64_t count,
              double* out) {
  switch (dtype) {
    case DType::float16:
      return read_run<ReadFloat16>(at, stride, count, out);
    case DType::bfloat16:
      return read_run<ReadBfloat16>(at, stride, count, out);
    case DType::float32:
      return read_run<ReadFloat32>(at, stride, count, out);
    case DType::float64:
      return read_run<ReadFloat64>(at, stride, count, out);
  }
}

constexpr double kLargest = std::numeric_limits<double>::max();

// Whether all of `values` lie in [low, kLargest]; NaN does not.
struct AllValid {
  static WKM_ALWAYS_INLINE bool run(const double* values, std::int64_t count, double low) {
    std::int64_t n_bad = 0;
    for (std::int64_t i = 0; i < count; ++i) n_bad += !(values[i] >= low && values[i] <= kLargest);
    return n_bad == 0;
  }
};

void check(const Operand& operand, const std::vector<double>& values, double low) {
  if (!dispatch<AllValid>(values.data(), static_cast<std::int64_t>(values.size()), low)) {
    throw InvalidValue(operand.name());
  }
}

}  // namespace

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::float32:
      return 4;
    case DType::float64:
      return 8;
  }
  return 0;
}

Operand::Operand(std::string name, const std::byte* data, DType dtype,
                 const std::vector<Dimension>& problem_dims,
                 const std::vector<Dimension>& item_dims)
    : name_(std::move(name)),
      data_(data),
      dtype_(dtype),
      problem_dims_(fused(problem_dims)),
      item_dims_(fused(item_dims)),
      n_problems_(product_of_extents(problem_dims)),
      n_items_(product_of_extents(item_dims)) {}

const std::byte* Operand::address(const std::vector<Dimension>& dims, std::int64_t index,
                                  const std::byte* base) const {
  std::int64_t offset = 0;
  for (std::size_t d = dims.size(); d-- > 0;) {
    offset += (index % dims[d].extent) * dims[d].stride;
    index /= dims[d].extent;
  }
  return base + offset;
}

template <class Visit>
void Operand::for_each_run(std::int64_t problem, std::int64_t begin, std::int64_t count,
                           Visit&& visit) const {
  const std::byte* base = address(problem_dims_, problem, data_);
  const Dimension inner = item_dims_.back();
  while (count > 0) {
    const std::int64_t run = std::min(count, inner.extent - begin % inner.extent);
    visit(address(item_dims_, begin, base), inner.stride, run);
    begin += run;
    count -= run;
  }
}

void Operand::load(std::int64_t problem, std::int64_t begin, std::int64_t count,
                   double* out) const {
  for_each_run(problem, begin, count,
               [&](const std::byte* at, std::int64_t stride, std::int64_t run) {
                 read_run(dtype_, at, stride, run, out);
                 out += run;
               });
}

void Operand::gather(std::int64_t problem, std::int64_t begin, const std::uint32_t* chosen,
                     std::int64_t n_chosen, double* out) const {
  const std::byte* base = address(problem_dims_, problem, data_);
  const bool is_one_run = item_dims_.size() == 1;
  const std::int64_t stride = item_dims_.back().stride;
  for (std::int64_t i = 0; i < n_chosen; ++i) {
    const std::int64_t item = begin + chosen[i];
    const std::byte* at = is_one_run ? base + item * stride : address(item_dims_, item, base);
    read_run(dtype_, at, 0, 1, out + i);
  }
}

const std::uint16_t* Operand::bits(std::int64_t problem, std::int64_t begin, std::int64_t count,
                                   std::uint16_t* spare) const {
  const std::uint16_t* in_place = nullptr;
  std::uint16_t* out = spare;
  for_each_run(
      problem, begin, count, [&](const std::byte* at, std::int64_t stride, std::int64_t run) {
        const auto address = reinterpret_cast<std::uintptr_t>(at);
        if (run == count && stride == sizeof *out && address % alignof(std::uint16_t) == 0) {
          in_place = reinterpret_cast<const std::uint16_t*>(at);
          return;
        }
        for (std::int64_t i = 0; i < run; ++i, ++out)
          std::memcpy(out, at + i * stride, sizeof *out);
      });
  return in_place ? in_place : spare;
}

void load_items(const Problems& problems, std::int64_t problem, std::int64_t begin,
                std::int64_t count, ItemBuffer& out) {
  const auto size = static_cast<std::size_t>(count);
  out.weight.resize(size);
  problems.weights->load(problem, begin, count, out.weight.data());
  load_importances(problems, problem, begin, count, out);
}

void load_importances(const Problems& problems, std::int64_t problem, std::int64_t begin,
                      std::int64_t count, ItemBuffer& out) {
  const auto size = static_cast<std::size_t>(count);
  out.importance.resize(size);
  if (problems.importance) {
    problems.importance->load(problem, begin, count, out.importance.data());
  } else {
    std::fill(out.importance.begin(), out.importance.end(), 1.0);
  }
  if (problems.quartic()) {
    out.quartic_importance.resize(size);
    problems.quartic_importance->load(problem, begin, count, out.quartic_importance.data());
  }
}

void append(const ItemBuffer& items, ItemBuffer& to) {
  const auto append_values = [](const std::vector<double>& values, std::vector<double>& all) {
    all.insert(all.end(), values.begin(), values.end());
  };
  append_values(items.weight, to.weight);
  append_values(items.importance, to.importance);
  append_values(items.quartic_importance, to.quartic_importance);
}

void append_chosen(const Problems& problems, std::int64_t problem, std::int64_t begin,
                   const std::uint32_t* chosen, std::int64_t n_chosen, ItemBuffer& to) {
  const auto append_values = [&](const Operand* operand, std::vector<double>& values) {
    const std::size_t size = values.size();
    values.resize(size + static_cast<std::size_t>(n_chosen), 1.0);
    if (operand) operand->gather(problem, begin, chosen, n_chosen, values.data() + size);
  };
  append_values(problems.weights, to.weight);
  append_values(problems.importance, to.importance);
  if (problems.quartic()) append_values(problems.quartic_importance, to.quartic_importance);
}

void check_items(const Problems& problems, const ItemBuffer& items) {
  check(*problems.weights, items.weight, -kLargest);
  check_importances(problems, items);
}

void check_importances(const Problems& problems, const ItemBuffer& items) {
  if (problems.importance) check(*problems.importance, items.importance, 0.0);
  if (problems.quartic()) check(*problems.quartic_importance, items.quartic_importance, 0.0);
}

}  // namespace wkmeans
