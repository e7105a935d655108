#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace wkmeans::cuda {

// The items of a problem are numbered in 32 bits, which halves what sorts and selections move.
inline void check_item_count(std::int64_t n_items) {
  constexpr std::int64_t kMost = 0xffffffff;
  if (n_items > kMost) {
    throw std::length_error("weights: expected at most " + std::to_string(kMost) +
                            " in one problem on CUDA, got " + std::to_string(n_items));
  }
}

}  // namespace wkmeans::cuda
