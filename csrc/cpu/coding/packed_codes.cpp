#include "cpu/coding/packed_codes.h"

#include <algorithm>
#include <atomic>

namespace wkmeans {
namespace {

// Eight codes fill whole bytes: an eighth of them begins where a byte does.
template <class Label>
std::uint32_t unpack_some(const std::uint8_t* packed, std::int64_t size, int bits, Label* codes) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  std::uint32_t most = 0;
  std::uint64_t held = 0;
  int n_held = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    for (; n_held < bits; n_held += 8) held |= static_cast<std::uint64_t>(*packed++) << n_held;
    const auto code = static_cast<std::uint32_t>(held & mask);
    held >>= bits;
    n_held -= bits;
    most = std::max(most, code);
    codes[i] = static_cast<Label>(code);
  }
  return most;
}

}  // namespace

template <class Label>
bool unpack_codes(const std::uint8_t* packed, std::int64_t size, int bits, std::uint32_t k,
                  const Parallel& parallel, Label* codes) {
  std::atomic<bool> are_codes{true};
  for_each_chunk(parallel, size, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    const std::uint8_t* from = packed + begin / 8 * bits;
    if (unpack_some(from, end - begin, bits, codes + begin) >= k) are_codes = false;
  });
  return are_codes;
}

template bool unpack_codes(const std::uint8_t*, std::int64_t, int, std::uint32_t, const Parallel&,
                           std::uint8_t*);
template bool unpack_codes(const std::uint8_t*, std::int64_t, int, std::uint32_t, const Parallel&,
                           std::uint16_t*);

}  // namespace wkmeans
