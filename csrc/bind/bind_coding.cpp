#include <pybind11/numpy.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bind/interruptible.h"
#include "bind/labels.h"
#include "bind/module.h"
#include "cpu/coding/adaptive_integers.h"
#include "cpu/coding/classed_codes.h"
#include "cpu/coding/look_up.h"
#include "cpu/coding/packed_codes.h"
#include "cpu/coding/trellis_codes.h"

namespace wkmeans {
namespace {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Classes = Array<std::int32_t>;
using Numbers = Array<std::int64_t>;

void check(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

// Tables one behind the other: the first code of each, how many counts it has, and all counts.
std::vector<CodeTable> tables_of(const Numbers& first, const Numbers& sizes,
                                 const Numbers& counts) {
  check(first.size() == sizes.size(), "sizes: expected one for each table");
  std::vector<CodeTable> tables;
  tables.reserve(static_cast<std::size_t>(sizes.size()));
  const std::int64_t* begin = counts.data();
  const std::int64_t* const end = begin + counts.size();
  for (py::ssize_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t size = sizes.data()[i];
    check(size >= 0 && size <= end - begin, "counts: expected as many as tables have");
    tables.emplace_back(CodeCounts{first.data()[i], begin, begin + size});
    begin += size;
  }
  return tables;
}

// No numbers for columns: rows alone decide.
CodeClasses classes_of(const Classes& rows, const Classes& columns, std::int64_t n_columns,
                       int shift, std::int64_t chunk, std::size_t n_tables) {
  check(rows.size() > 0 && n_columns > 0 && chunk > 0, "shape: expected positive numbers");
  check(columns.size() == 0 || columns.size() == n_columns, "classes: expected one a column");
  check(shift >= 0 && shift < 31, "shift: expected 0 to 30");
  std::int64_t most = 0;
  for (const Classes* lines : {&rows, &columns}) {
    if (lines->size() == 0) continue;
    const auto [low, high] = std::minmax_element(lines->data(), lines->data() + lines->size());
    check(*low >= 0, "classes: expected no negative number");
    most += *high;
  }
  check(most < (std::int64_t{1} << 31) && static_cast<std::size_t>(most >> shift) < n_tables,
        "classes: expected a table for each");
  const std::int32_t* by_column = columns.size() == 0 ? nullptr : columns.data();
  return {rows.size(), n_columns, rows.data(), by_column, shift, chunk};
}

// Not on a trellis with a block of 0.
TrellisCodes on_trellis(const CodeClasses& classes, std::int64_t block, std::int64_t low) {
  check(block >= 0, "block: expected no negative number");
  check(block == 0 ||
            (classes.chunk % classes.columns == 0 &&
             (classes.chunk / classes.columns % block == 0 || classes.chunk >= classes.size())),
        "chunk: expected whole blocks");
  return {classes, block, low};
}

template <class Label>
py::tuple encode(const py::array& codes, const TrellisCodes& classes,
                 const std::vector<CodeTable>& tables, int n_threads) {
  const auto* from = static_cast<const Label*>(codes.data());
  std::vector<std::vector<std::uint32_t>> chunks;
  run_interruptibly([&] {
    const Parallel parallel(n_threads);
    chunks = classes.block > 0 ? encode_on_trellis(classes, tables, from, parallel)
                               : encode_by_classes(classes.classes, tables, from, parallel);
  });
  Numbers ends(static_cast<py::ssize_t>(chunks.size()));
  std::int64_t end = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    end += static_cast<std::int64_t>(chunks[i].size());
    ends.mutable_data()[i] = end;
  }
  Array<std::uint32_t> words(end);
  std::uint32_t* out = words.mutable_data();
  for (const auto& chunk : chunks) out = std::copy(chunk.begin(), chunk.end(), out);
  return py::make_tuple(words, ends);
}

py::tuple bound_encode(const py::array& codes, const Classes& rows, const Classes& columns,
                       std::int64_t n_columns, int shift, std::int64_t chunk, std::int64_t block,
                       std::int64_t low, const Numbers& first, const Numbers& sizes,
                       const Numbers& counts, int n_threads) {
  const std::vector<CodeTable> tables = tables_of(first, sizes, counts);
  const CodeClasses classes = classes_of(rows, columns, n_columns, shift, chunk,
                                         block > 0 ? tables.size() / 2 : tables.size());
  const TrellisCodes trellis = on_trellis(classes, block, low);
  check(codes.size() == classes.size() && (codes.flags() & py::array::c_style) != 0,
        "codes: expected one for each row and column, contiguous");
  if (codes.dtype().is(py::dtype::of<std::uint8_t>())) {
    return encode<std::uint8_t>(codes, trellis, tables, n_threads);
  }
  check(codes.dtype().is(py::dtype::of<std::uint16_t>()), "codes: expected uint8 or uint16");
  return encode<std::uint16_t>(codes, trellis, tables, n_threads);
}

py::object bound_decode(const Array<std::uint32_t>& words, const Numbers& ends, const Classes& rows,
                        const Classes& columns, std::int64_t n_columns, int shift,
                        std::int64_t chunk, std::int64_t block, std::int64_t low,
                        const Numbers& first, const Numbers& sizes, const Numbers& counts,
                        const std::string& dtype, int n_threads) {
  const std::vector<CodeTable> tables = tables_of(first, sizes, counts);
  const CodeClasses classes = classes_of(rows, columns, n_columns, shift, chunk,
                                         block > 0 ? tables.size() / 2 : tables.size());
  const TrellisCodes trellis = on_trellis(classes, block, low);
  check(ends.size() == classes.n_chunks(), "ends: expected one for each chunk");
  const std::int64_t* const bounds = ends.data();
  check(bounds[0] >= 0 && std::is_sorted(bounds, bounds + ends.size()) &&
            bounds[ends.size() - 1] == words.size(),
        "ends: expected ascending numbers up to that of words");
  return with_label(dtype, 0, [&](auto label) -> py::object {
    using Label = decltype(label);
    if constexpr (sizeof(Label) <= 2) {
      Array<Label> codes({classes.rows, classes.columns});
      Label* out = codes.mutable_data();
      bool is_sound = false;
      run_interruptibly([&] {
        const Parallel parallel(n_threads);
        is_sound = block > 0
                       ? decode_on_trellis(trellis, tables, words.data(), bounds, parallel, out)
                       : decode_by_classes(classes, tables, words.data(), bounds, parallel, out);
      });
      return is_sound ? py::object(codes) : py::none();
    } else {
      throw py::value_error("dtype: expected uint8 or uint16");
    }
  });
}

py::object bound_unpack(const Array<std::uint8_t>& packed, std::int64_t size, int bits,
                        std::uint32_t k, const std::string& dtype, int n_threads) {
  check(bits >= 1 && bits <= 16, "bits: expected 1 to 16");
  check(size >= 0 && packed.size() >= (size * bits + 7) / 8, "packed: expected bits for all codes");
  return with_label(dtype, 0, [&](auto label) -> py::object {
    using Label = decltype(label);
    if constexpr (sizeof(Label) <= 2) {
      Array<Label> codes(size);
      Label* out = codes.mutable_data();
      bool are_codes = false;
      run_interruptibly([&] {
        are_codes = unpack_codes(packed.data(), size, bits, k, Parallel(n_threads), out);
      });
      return are_codes ? py::object(codes) : py::none();
    } else {
      throw py::value_error("dtype: expected uint8 or uint16");
    }
  });
}

template <class Label>
LabelMatrix<Label> matrix_of(const py::array& labels, bool is_transposed) {
  check(labels.ndim() == 2 && (labels.flags() & py::array::c_style) != 0,
        "labels: expected two dimensions, contiguous");
  return {static_cast<const Label*>(labels.data()), labels.shape(is_transposed ? 1 : 0),
          labels.shape(is_transposed ? 0 : 1), is_transposed};
}

// take(Label{}): of the type that labels have.
template <class Take>
auto with_label_of(const py::array& labels, Take&& take) {
  if (labels.dtype().is(py::dtype::of<std::uint8_t>())) return take(std::uint8_t{});
  check(labels.dtype().is(py::dtype::of<std::uint16_t>()), "labels: expected uint8 or uint16");
  return take(std::uint16_t{});
}

template <class Value>
py::array looked_up(const py::array& labels, bool is_transposed, const Array<Value>& tables,
                    std::int64_t group, int n_threads) {
  return with_label_of(labels, [&](auto label) {
    const auto matrix = matrix_of<decltype(label)>(labels, is_transposed);
    check(tables.ndim() == 2 && group >= 0, "tables: expected rows of values");
    const ValueTables<Value> from{tables.data(), tables.shape(1), group};
    const std::int64_t n_tables = group == 0 ? 1 : matrix.rows * from.per_row(matrix.columns);
    check(tables.shape(0) == n_tables, "tables: expected one for each group of every row");
    Array<Value> values({matrix.rows, matrix.columns});
    Value* out = values.mutable_data();
    bool are_labels = false;
    run_interruptibly([&] { are_labels = look_up(matrix, from, Parallel(n_threads), out); });
    check(are_labels, "labels: expected less than tables have values");
    return values;
  });
}

template <class Value>
Array<Value> scaled(const py::array& labels, const Array<double>& table,
                    const Array<double>& row_scales, const Array<double>& column_scales,
                    int n_threads) {
  return with_label_of(labels, [&](auto label) {
    const auto matrix = matrix_of<decltype(label)>(labels, false);
    check(row_scales.size() == matrix.rows && column_scales.size() == matrix.columns,
          "scales: expected one for each row and column");
    const ValueTables<double> from{table.data(), table.size(), 0};
    Array<Value> values({matrix.rows, matrix.columns});
    Value* out = values.mutable_data();
    bool are_labels = false;
    run_interruptibly([&] {
      are_labels = look_up_scaled(matrix, from, row_scales.data(), column_scales.data(),
                                  Parallel(n_threads), out);
    });
    check(are_labels, "labels: expected less than the table has values");
    return values;
  });
}

py::array bound_scaled(const py::array& labels, const Array<double>& table,
                       const Array<double>& row_scales, const Array<double>& column_scales,
                       const std::string& dtype, int n_threads) {
  if (dtype == "float32") return scaled<float>(labels, table, row_scales, column_scales, n_threads);
  check(dtype == "float64", "dtype: expected float32 or float64");
  return scaled<double>(labels, table, row_scales, column_scales, n_threads);
}

// Values are bits of so many bytes: what they mean, Python knows.
py::array bound_look_up(const py::array& labels, bool is_transposed, const py::array& tables,
                        std::int64_t group, int n_threads) {
  const auto are = [&](auto value) { return tables.dtype().is(py::dtype::of<decltype(value)>()); };
  if (are(std::uint16_t{})) {
    return looked_up<std::uint16_t>(labels, is_transposed, tables, group, n_threads);
  }
  if (are(std::uint32_t{})) {
    return looked_up<std::uint32_t>(labels, is_transposed, tables, group, n_threads);
  }
  check(are(std::uint64_t{}), "tables: expected uint16, uint32 or uint64");
  return looked_up<std::uint64_t>(labels, is_transposed, tables, group, n_threads);
}

SpreadMatrix spread_of(const Classes& rows, const Classes& columns, std::int64_t block) {
  check(block >= 0, "block: expected no negative number");
  for (const Classes* lines : {&rows, &columns}) {
    check(lines->size() > 0, "shape: expected positive numbers");
    const auto [low, high] = std::minmax_element(lines->data(), lines->data() + lines->size());
    check(*low >= 0 && *high < (1 << 20), "spread: expected small numbers that are not negative");
  }
  return {rows.size(), columns.size(), rows.data(), columns.data(), block};
}

Array<std::uint32_t> bound_encode_adaptively(const Array<std::int32_t>& integers,
                                             const Classes& rows, const Classes& columns,
                                             std::int64_t block) {
  const SpreadMatrix matrix = spread_of(rows, columns, block);
  check(integers.size() == matrix.rows * matrix.columns,
        "integers: expected one for each row and column");
  std::vector<std::uint32_t> words;
  run_interruptibly([&] { words = encode_adaptively(matrix, integers.data()); });
  return Array<std::uint32_t>(static_cast<py::ssize_t>(words.size()), words.data());
}

py::object bound_decode_adaptively(const Array<std::uint32_t>& words, const Classes& rows,
                                   const Classes& columns, std::int64_t block) {
  const SpreadMatrix matrix = spread_of(rows, columns, block);
  Array<std::int32_t> integers({matrix.rows, matrix.columns});
  std::int32_t* out = integers.mutable_data();
  bool is_sound = false;
  run_interruptibly([&] {
    is_sound = decode_adaptively(matrix, words.data(), words.data() + words.size(), out);
  });
  return is_sound ? py::object(integers) : py::none();
}

}  // namespace

void bind_coding(py::module_& module) {
  module.def("encode_codes", &bound_encode, py::arg("codes"), py::arg("row_classes"),
             py::arg("column_classes"), py::arg("columns"), py::arg("shift"), py::arg("chunk"),
             py::arg("block"), py::arg("low"), py::arg("first"), py::arg("sizes"),
             py::arg("counts"), py::arg("n_threads"));
  module.def("decode_codes", &bound_decode, py::arg("words").noconvert(), py::arg("ends"),
             py::arg("row_classes"), py::arg("column_classes"), py::arg("columns"),
             py::arg("shift"), py::arg("chunk"), py::arg("block"), py::arg("low"), py::arg("first"),
             py::arg("sizes"), py::arg("counts"), py::arg("dtype"), py::arg("n_threads"));
  module.def("encode_adaptively", &bound_encode_adaptively, py::arg("integers").noconvert(),
             py::arg("row_spread"), py::arg("column_spread"), py::arg("block"));
  module.def("decode_adaptively", &bound_decode_adaptively, py::arg("words").noconvert(),
             py::arg("row_spread"), py::arg("column_spread"), py::arg("block"));
  module.def("unpack_codes", &bound_unpack, py::arg("packed").noconvert(), py::arg("size"),
             py::arg("bits"), py::arg("k"), py::arg("dtype"), py::arg("n_threads"));
  module.def("look_up", &bound_look_up, py::arg("labels"), py::arg("is_transposed"),
             py::arg("tables"), py::arg("group"), py::arg("n_threads"));
  module.def("look_up_scaled", &bound_scaled, py::arg("labels"), py::arg("table"),
             py::arg("row_scales"), py::arg("column_scales"), py::arg("dtype"),
             py::arg("n_threads"));
}

}  // namespace wkmeans
