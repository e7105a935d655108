#pragma once

#include <cstdint>
#include <vector>

#include "cpu/base/parallel.h"
#include "cpu/coding/classed_codes.h"

namespace wkmeans {

// Integers that follow a trellis (math/trellis.h) down the rows of each column, anew from state 0
// every `block` rows, and each of whose halves, rounded down, has a code: in the table of its class
// and parity, which the state says. A chunk is whole blocks.
struct TrellisCodes {
  CodeClasses classes;
  std::int64_t block;
  std::int64_t low;  // the half that is code 0

  // Of class c, even integers have table 2 c, odd ones 2 c + 1.
  std::size_t table(std::int64_t row, std::int64_t column, int parity) const {
    return 2 * classes.table(row, column) + static_cast<std::size_t>(parity);
  }
};

// Labels are integers less `2 low`. The words of each chunk.
template <class Label>
std::vector<std::vector<std::uint32_t>> encode_on_trellis(const TrellisCodes& codes,
                                                          const std::vector<CodeTable>& tables,
                                                          const Label* labels,
                                                          const Parallel& parallel);

// As `decode_by_classes`. Every table's codes are less than half of what a label can be.
template <class Label>
bool decode_on_trellis(const TrellisCodes& codes, const std::vector<CodeTable>& tables,
                       const std::uint32_t* words, const std::int64_t* ends,
                       const Parallel& parallel, Label* labels);

}  // namespace wkmeans
