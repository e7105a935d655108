#pragma once

#include <cstdint>

#include "cpu/base/parallel.h"

namespace wkmeans {

// Codes of so many bits one behind the other, the least significant bit first, 1 to 16 each.
// Whether all of them are below k; `codes` is written whole all the same.
template <class Label>
bool unpack_codes(const std::uint8_t* packed, std::int64_t size, int bits, std::uint32_t k,
                  const Parallel& parallel, Label* codes);

}  // namespace wkmeans
