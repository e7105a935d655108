#pragma once

#include <cstdint>
#include <vector>

#include "cpu/read/histogram.h"
#include "cpu/read/points.h"
#include "cuda/items/bad_value.h"
#include "cuda/items/items.h"

namespace wkmeans::cuda {

// Halves that all count 1: at most 65536 values, and how often each occurs says everything.
inline bool counts_suffice(const ItemColumns& items) {
  constexpr std::uint64_t kFewest = 1 << 16;
  const bool is_half =
      items.weight.type == ItemType::float16 || items.weight.type == ItemType::bfloat16;
  return is_half && items.importance.values == nullptr && !items.quartic() && items.size >= kFewest;
}

struct BitsOfHalf {
  ItemColumn weights;
  std::uint64_t first_index;
  BadItems* errors;

  WKM_HD std::uint32_t operator()(std::uint64_t i) const {
    const std::uint16_t bits = weights.bits_at(i);
    const std::uint32_t exponent = weights.type == ItemType::float16 ? 0x7c00u : 0x7f80u;
    if ((bits & exponent) == exponent) lower(&errors->weight, first_index + i);
    return bits;
  }
};

template <class Backend>
Points count_halves(Backend& backend, const ItemColumns& items, std::uint64_t first_index) {
  constexpr std::uint32_t kValues = 1 << 16;
  auto errors = backend.template array<BadItems>(1);
  backend.upload(std::vector<BadItems>(1), errors.data());
  const std::vector<std::uint64_t> counts =
      backend.histogram(items.size, kValues, BitsOfHalf{items.weight, first_index, errors.data()});
  throw_if_bad(backend.download(errors.data(), 1).front());
  return counted_points(items.weight.type == ItemType::float16 ? DType::float16 : DType::bfloat16,
                        counts);
}

}  // namespace wkmeans::cuda
