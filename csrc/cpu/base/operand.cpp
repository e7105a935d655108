#include "cpu/base/operand.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cpu/base/isa.h"
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
  static float convert(Stored bits) { return float16_to_float(bits); }
};
struct ReadBfloat16 {
  using Stored = std::uint16_t;
  static float convert(Stored bits) { return bfloat16_to_float(bits); }
};
struct ReadFloat32 {
  using Stored = float;
  static float convert(Stored value) { return value; }
};
struct ReadFloat64 {
  using Stored = double;
  static double convert(Stored value) { return value; }
};

// visit(reader of the dtype's values)
template <class Visit>
void with_dtype(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::float16:
      return visit(ReadFloat16{});
    case DType::bfloat16:
      return visit(ReadBfloat16{});
    case DType::float32:
      return visit(ReadFloat32{});
    case DType::float64:
      return visit(ReadFloat64{});
  }
}

template <class Read, class Real>
Real read_one(const std::byte* at) {
  typename Read::Stored stored;
  std::memcpy(&stored, at, sizeof stored);  // a strided array need not be aligned
  return static_cast<Real>(Read::convert(stored));
}

template <class Read>
struct ReadContiguous {
  template <class Real>
  static WKM_ALWAYS_INLINE void run(const std::byte* at, std::int64_t count, Real* out) {
    constexpr auto kSize = static_cast<std::int64_t>(sizeof(typename Read::Stored));
    for (std::int64_t i = 0; i < count; ++i) {
      typename Read::Stored stored;
      std::memcpy(&stored, at + i * kSize, sizeof stored);
      out[i] = static_cast<Real>(Read::convert(stored));
    }
  }
};

template <class Read, class Real>
void read_run(const std::byte* at, std::int64_t stride, std::int64_t count, Real* out) {
  if (stride == 0) {
    std::fill(out, out + count, read_one<Read, Real>(at));
  } else if (stride == sizeof(typename Read::Stored)) {
    dispatch<ReadContiguous<Read>>(at, count, out);
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = read_one<Read, Real>(at + i * stride);
  }
}

// Whether arrays of the dtype are arrays of Stored, or of its bits.
template <class Stored>
bool is_stored_as(DType dtype) {
  if (std::is_same_v<Stored, float>) return dtype == DType::float32;
  if (std::is_same_v<Stored, double>) return dtype == DType::float64;
  return size_of(dtype) == sizeof(Stored);
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

template <class Real>
void Operand::load(std::int64_t problem, std::int64_t begin, std::int64_t count, Real* out) const {
  with_dtype(dtype_, [&](auto read) {
    for_each_run(problem, begin, count,
                 [&](const std::byte* at, std::int64_t stride, std::int64_t run) {
                   read_run<decltype(read)>(at, stride, run, out);
                   out += run;
                 });
  });
}

template <class Stored>
std::optional<const Stored*> Operand::in_place(std::int64_t problem, std::int64_t begin,
                                               std::int64_t count) const {
  const Dimension inner = item_dims_.back();
  if (!is_stored_as<Stored>(dtype_) || inner.stride != sizeof(Stored) || count == 0)
    return std::nullopt;
  if (count > inner.extent - begin % inner.extent) return std::nullopt;
  const std::byte* at = address(item_dims_, begin, address(problem_dims_, problem, data_));
  if (reinterpret_cast<std::uintptr_t>(at) % alignof(Stored) != 0) return std::nullopt;
  return reinterpret_cast<const Stored*>(at);
}

void Operand::gather(std::int64_t problem, std::int64_t begin, const std::uint32_t* chosen,
                     std::int64_t n_chosen, double* out) const {
  const std::byte* base = address(problem_dims_, problem, data_);
  const bool is_one_run = item_dims_.size() == 1;
  const std::int64_t stride = item_dims_.back().stride;
  with_dtype(dtype_, [&](auto read) {
    for (std::int64_t i = 0; i < n_chosen; ++i) {
      const std::int64_t item = begin + chosen[i];
      const std::byte* at = is_one_run ? base + item * stride : address(item_dims_, item, base);
      out[i] = read_one<decltype(read), double>(at);
    }
  });
}

const std::uint16_t* Operand::bits(std::int64_t problem, std::int64_t begin, std::int64_t count,
                                   std::uint16_t* spare) const {
  if (const auto there = in_place<std::uint16_t>(problem, begin, count)) return *there;
  std::uint16_t* out = spare;
  for_each_run(problem, begin, count,
               [&](const std::byte* at, std::int64_t stride, std::int64_t run) {
                 for (std::int64_t i = 0; i < run; ++i, ++out)
                   std::memcpy(out, at + i * stride, sizeof *out);
               });
  return spare;
}

template void Operand::load(std::int64_t, std::int64_t, std::int64_t, float*) const;
template void Operand::load(std::int64_t, std::int64_t, std::int64_t, double*) const;
template std::optional<const float*> Operand::in_place(std::int64_t, std::int64_t,
                                                       std::int64_t) const;
template std::optional<const double*> Operand::in_place(std::int64_t, std::int64_t,
                                                        std::int64_t) const;

}  // namespace wkmeans
