#pragma once

#include <cstdint>

#include "cpu/base/buffer.h"
#include "cpu/sort/radix_sort.h"

namespace wkmeans {

// The stable order of radix_sort, in less time for up to kMostFew items on one thread.
constexpr std::size_t kMostFew = std::size_t{1} << 15;
void sort_few(Buffer<Keyed<std::uint32_t>>& items, Buffer<Keyed<std::uint32_t>>& spare);

}  // namespace wkmeans
