#include "cpu/coding/trellis_codes.h"

#include <algorithm>
#include <atomic>

#include "math/range.h"
#include "math/trellis.h"

namespace wkmeans {
namespace {

template <class Label>
bool decode_rows(const TrellisCodes& codes, const std::vector<CodeTable>& tables,
                 AnsDecoder decoder, std::int64_t begin, std::int64_t end, Label* labels) {
  const std::int64_t columns = codes.classes.columns;
  std::vector<std::uint8_t> states(static_cast<std::size_t>(columns));
  const auto low = static_cast<int>(codes.low & 1);
  for (std::int64_t row = begin; row < end; ++row) {
    if (row % codes.block == 0) std::fill(states.begin(), states.end(), 0);
    Label* const line = labels + row * columns;
    for (std::int64_t column = 0; column < columns; ++column) {
      std::uint8_t& state = states[static_cast<std::size_t>(column)];
      const int parity = trellis_parity(state);
      const std::uint32_t code = tables[codes.table(row, column, parity)].pop(decoder);
      line[column] = static_cast<Label>(2 * code + static_cast<std::uint32_t>(parity));
      state = static_cast<std::uint8_t>(trellis_next(state, (static_cast<int>(code) ^ low) & 1));
    }
  }
  return decoder.is_at_end();
}

template <class Label>
std::vector<std::uint32_t> encode_rows(const TrellisCodes& codes,
                                       const std::vector<CodeTable>& tables, std::int64_t begin,
                                       std::int64_t end, const Label* labels) {
  AnsEncoder encoder;
  const std::int64_t columns = codes.classes.columns;
  for (std::int64_t row = end - 1; row >= begin; --row) {
    for (std::int64_t column = columns - 1; column >= 0; --column) {
      const Label label = labels[row * columns + column];
      encoder.push(tables[codes.table(row, column, label & 1)].share(label >> 1));
    }
  }
  return encoder.finish();
}

Range<std::int64_t> rows_of(const CodeClasses& classes, std::int64_t chunk) {
  const std::int64_t rows = classes.chunk / classes.columns;
  return {chunk * rows, std::min((chunk + 1) * rows, classes.rows)};
}

}  // namespace

template <class Label>
std::vector<std::vector<std::uint32_t>> encode_on_trellis(const TrellisCodes& codes,
                                                          const std::vector<CodeTable>& tables,
                                                          const Label* labels,
                                                          const Parallel& parallel) {
  const std::int64_t n_chunks = codes.classes.n_chunks();
  std::vector<std::vector<std::uint32_t>> words(static_cast<std::size_t>(n_chunks));
  parallel.run(n_chunks, [&](std::int64_t i) {
    const Range<std::int64_t> rows = rows_of(codes.classes, i);
    words[static_cast<std::size_t>(i)] = encode_rows(codes, tables, rows.begin, rows.end, labels);
  });
  return words;
}

template <class Label>
bool decode_on_trellis(const TrellisCodes& codes, const std::vector<CodeTable>& tables,
                       const std::uint32_t* words, const std::int64_t* ends,
                       const Parallel& parallel, Label* labels) {
  std::atomic<bool> are_sound{true};
  parallel.run(codes.classes.n_chunks(), [&](std::int64_t i) {
    const Range<std::int64_t> rows = rows_of(codes.classes, i);
    const AnsDecoder decoder(words + (i > 0 ? ends[i - 1] : 0), words + ends[i]);
    if (!decode_rows(codes, tables, decoder, rows.begin, rows.end, labels)) are_sound = false;
  });
  return are_sound;
}

template std::vector<std::vector<std::uint32_t>> encode_on_trellis(const TrellisCodes&,
                                                                   const std::vector<CodeTable>&,
                                                                   const std::uint8_t*,
                                                                   const Parallel&);
template bool decode_on_trellis(const TrellisCodes&, const std::vector<CodeTable>&,
                                const std::uint32_t*, const std::int64_t*, const Parallel&,
                                std::uint8_t*);
template std::vector<std::vector<std::uint32_t>> encode_on_trellis(const TrellisCodes&,
                                                                   const std::vector<CodeTable>&,
                                                                   const std::uint16_t*,
                                                                   const Parallel&);
template bool decode_on_trellis(const TrellisCodes&, const std::vector<CodeTable>&,
                                const std::uint32_t*, const std::int64_t*, const Parallel&,
                                std::uint16_t*);

}  // namespace wkmeans
