#pragma once

#include <cstdint>

#include "cuda/items/batch.h"
#include "math/half.h"
#include "math/platform.h"

namespace wkmeans::cuda {

// The value at `at` of an array of the type, as a double, which holds every type exactly.
WKM_HD double stored_value(const void* values, ItemType type, std::int64_t at) {
  switch (type) {
    case ItemType::float16:
      return static_cast<double>(float16_to_float(static_cast<const std::uint16_t*>(values)[at]));
    case ItemType::bfloat16:
      return static_cast<double>(bfloat16_to_float(static_cast<const std::uint16_t*>(values)[at]));
    case ItemType::float32:
      return static_cast<double>(static_cast<const float*>(values)[at]);
    case ItemType::float64:
      break;
  }
  return static_cast<const double*>(values)[at];
}

WKM_HD void store_label(void* labels, LabelType type, std::int64_t at, std::uint32_t label) {
  switch (type) {
    case LabelType::uint8:
      static_cast<std::uint8_t*>(labels)[at] = static_cast<std::uint8_t>(label);
      return;
    case LabelType::uint32:
      break;
  }
  static_cast<std::uint32_t*>(labels)[at] = label;
}

}  // namespace wkmeans::cuda
