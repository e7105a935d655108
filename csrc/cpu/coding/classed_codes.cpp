#include "cpu/coding/classed_codes.h"

#include <algorithm>
#include <atomic>

namespace wkmeans {
namespace {

template <class Label>
bool decode_chunk(const CodeClasses& classes, const std::vector<CodeTable>& tables,
                  AnsDecoder decoder, std::int64_t begin, std::int64_t end, Label* codes) {
  std::int64_t row = begin / classes.columns;
  std::int64_t column = begin % classes.columns;
  for (std::int64_t at = begin; at < end; ++row, column = 0) {
    const std::int64_t last = std::min(classes.columns, column + (end - at));
    if (classes.of_column == nullptr) {
      const CodeTable& table = tables[classes.table(row, column)];
      for (; column < last; ++column, ++at) codes[at] = static_cast<Label>(table.pop(decoder));
    } else {
      for (; column < last; ++column, ++at) {
        codes[at] = static_cast<Label>(tables[classes.table(row, column)].pop(decoder));
      }
    }
  }
  return decoder.is_at_end();
}

template <class Label>
std::vector<std::uint32_t> encode_chunk(const CodeClasses& classes,
                                        const std::vector<CodeTable>& tables, std::int64_t begin,
                                        std::int64_t end, const Label* codes) {
  AnsEncoder encoder;
  std::int64_t row = (end - 1) / classes.columns;
  std::int64_t column = (end - 1) % classes.columns;
  for (std::int64_t at = end - 1; at >= begin; --at) {
    encoder.push(tables[classes.table(row, column)].share(codes[at]));
    if (column-- == 0) {
      --row;
      column = classes.columns - 1;
    }
  }
  return encoder.finish();
}

}  // namespace

template <class Label>
std::vector<std::vector<std::uint32_t>> encode_by_classes(const CodeClasses& classes,
                                                          const std::vector<CodeTable>& tables,
                                                          const Label* codes,
                                                          const Parallel& parallel) {
  std::vector<std::vector<std::uint32_t>> words(static_cast<std::size_t>(classes.n_chunks()));
  parallel.run(classes.n_chunks(), [&](std::int64_t i) {
    const std::int64_t begin = i * classes.chunk;
    const std::int64_t end = std::min(begin + classes.chunk, classes.size());
    words[static_cast<std::size_t>(i)] = encode_chunk(classes, tables, begin, end, codes);
  });
  return words;
}

template <class Label>
bool decode_by_classes(const CodeClasses& classes, const std::vector<CodeTable>& tables,
                       const std::uint32_t* words, const std::int64_t* ends,
                       const Parallel& parallel, Label* codes) {
  std::atomic<bool> are_sound{true};
  parallel.run(classes.n_chunks(), [&](std::int64_t i) {
    const std::int64_t begin = i * classes.chunk;
    const std::int64_t end = std::min(begin + classes.chunk, classes.size());
    const AnsDecoder decoder(words + (i > 0 ? ends[i - 1] : 0), words + ends[i]);
    if (!decode_chunk(classes, tables, decoder, begin, end, codes)) are_sound = false;
  });
  return are_sound;
}

template std::vector<std::vector<std::uint32_t>> encode_by_classes(const CodeClasses&,
                                                                   const std::vector<CodeTable>&,
                                                                   const std::uint8_t*,
                                                                   const Parallel&);
template bool decode_by_classes(const CodeClasses&, const std::vector<CodeTable>&,
                                const std::uint32_t*, const std::int64_t*, const Parallel&,
                                std::uint8_t*);
template std::vector<std::vector<std::uint32_t>> encode_by_classes(const CodeClasses&,
                                                                   const std::vector<CodeTable>&,
                                                                   const std::uint16_t*,
                                                                   const Parallel&);
template bool decode_by_classes(const CodeClasses&, const std::vector<CodeTable>&,
                                const std::uint32_t*, const std::int64_t*, const Parallel&,
                                std::uint16_t*);

}  // namespace wkmeans
