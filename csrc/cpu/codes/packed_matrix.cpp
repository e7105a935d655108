#include "cpu/codes/packed_matrix.h"

#include <algorithm>

#include "cpu/base/buffer.h"
#include "cpu/codes/code_lanes.h"
#include "cpu/products/product_tile.h"

namespace wkmeans {
namespace {

// Columns of one step, on every instruction set: inputs are padded to whole steps with zeros, by
// which what lies behind the end of a row is multiplied.
constexpr std::int64_t kStep = 16;
// Rows of weights of one task, a whole number of panels and of rows that are summed together.
constexpr std::int64_t kTaskRows = 64;

std::int64_t whole_steps(std::int64_t columns) { return (columns + kStep - 1) / kStep * kStep; }

// Inputs in whole steps, (batch, stride).
struct Inputs {
  const float* values;
  std::int64_t stride;
};

// Whether inputs lie as `interleaved` says, in every step.
bool is_interleaved(const PackedMatrix& matrix) {
  return active_isa() == Isa::avx512 && matrix.bits == 4;
}

// What the next rows need, asked for while these are multiplied. Memory answers too late for a row
// at a time, and rows side by side in a page hide from processors what will be read next.
template <int Rows>
class FetchAhead {
public:
  // Of the rows from `row` on, in a task that ends at `end`.
  WKM_ALWAYS_INLINE FetchAhead(const PackedMatrix& matrix, std::int64_t row, std::int64_t end)
      : matrix_(matrix) {
    const std::int64_t steps = std::max<std::int64_t>(1, kDistance / (Rows * matrix.row_bytes()));
    next_ = std::min(row + steps * Rows, end - Rows);
  }

  // As many bytes of codes as fit a line of the cache, `offset` behind the begin of each row.
  WKM_ALWAYS_INLINE void codes(std::int64_t offset) const {
    WKM_UNROLL(4)
    for (int r = 0; r < Rows; ++r) {
      fetch_line(matrix_.codes + (next_ + r) * matrix_.row_bytes() + offset);
    }
  }

  WKM_ALWAYS_INLINE void tables(std::int64_t number) const {
    WKM_UNROLL(4)
    for (int r = 0; r < Rows; ++r) fetch_line(matrix_.table_bytes(next_ + r, number));
  }

private:
  static WKM_ALWAYS_INLINE void fetch_line(const void* address) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(address);
#else
    static_cast<void>(address);
#endif
  }

  static constexpr std::int64_t kDistance = 8192;  // bytes of codes, of which caches hold more

  const PackedMatrix& matrix_;
  std::int64_t next_;
};

// Steps from `column` on, not beyond `end`, of which the codes of each row begin at `codes`.
template <MultiplyAdd Mode, int Width, Codes Kind, int Rows, int Batch>
WKM_ALWAYS_INLINE void add_steps(const CodeLanes<Width>& lanes,
                                 const typename CodeLanes<Width>::Table (&tables)[Rows],
                                 const std::uint8_t* codes, std::int64_t row_bytes,
                                 std::int64_t step_bytes, const Inputs& inputs,
                                 Range<std::int64_t> columns,
                                 typename CodeLanes<Width>::Values (&sums)[Rows][Batch]) {
  for (std::int64_t column = columns.begin; column < columns.end; column += Width) {
    WKM_UNROLL(4)
    for (int r = 0; r < Rows; ++r) {
      typename CodeLanes<Width>::Values values;
      lanes.template look_up<Kind>(tables[r], codes + r * row_bytes, values);
      WKM_UNROLL(4)
      for (int b = 0; b < Batch; ++b) {
        add_product<Mode, Width>(values, inputs.values + b * inputs.stride + column, sums[r][b]);
      }
    }
    codes += step_bytes;
  }
}

// `Rows` rows of weights, of a task that ends at row `end`, with `Batch` inputs: each code is
// looked up once for all of them.
template <MultiplyAdd Mode, int Width, Codes Kind, int Rows, int Batch>
WKM_ALWAYS_INLINE void multiply_rows(const PackedMatrix& matrix, std::int64_t row, std::int64_t end,
                                     const Inputs& inputs, float* outputs) {
  using Lanes = CodeLanes<Width>;
  constexpr bool kIsShort = Kind != Codes::longer;
  constexpr std::int64_t kLine = kIsShort ? 128 : 64;  // columns of at most 64 bytes
  constexpr int kNibble = 4;
  const std::int64_t eight_codes = Kind == Codes::nibbles ? kNibble : matrix.bits;  // in bytes
  const std::int64_t bytes = matrix.row_bytes();
  const Lanes lanes(matrix.bits);
  const FetchAhead<Rows> ahead(matrix, row, end);
  typename Lanes::Values sums[Rows][Batch] = {};
  float spare[Rows][kIsShort ? 16 : 256];
  for (std::int64_t number = 0; number < matrix.groups(); ++number) {
    ahead.tables(number);
    typename Lanes::Table tables[Rows];
    WKM_UNROLL(4)
    for (int r = 0; r < Rows; ++r) {
      if constexpr (kIsShort) {
        tables[r].load(matrix.table_of_sixteen(row + r, number, spare[r]));
      } else {
        tables[r].load(matrix.table(row + r, number, spare[r]));
      }
    }
    const std::int64_t group_end = std::min(matrix.columns, (number + 1) * matrix.group);
    for (std::int64_t column = number * matrix.group; column < group_end; column += kLine) {
      const std::int64_t offset = column / 8 * eight_codes;
      ahead.codes(offset);
      add_steps<Mode, Width, Kind, Rows, Batch>(
          lanes, tables, matrix.codes + row * bytes + offset, bytes, Width / 8 * eight_codes,
          inputs, {column, std::min(group_end, column + kLine)}, sums);
    }
  }
  // Unrolled, as all loops over sums: otherwise GCC stores them at every step.
  WKM_UNROLL(4)
  for (int r = 0; r < Rows; ++r) {
    WKM_UNROLL(4)
    for (int b = 0; b < Batch; ++b) {
      float total = 0.0f;
      WKM_UNROLL(16)
      for (int lane = 0; lane < Width; ++lane) total += sums[r][b][lane];
      outputs[b * matrix.rows + row + r] = total;
    }
  }
}

// Some rows of weights with all inputs, four by four.
template <int Width, Codes Kind>
struct MultiplyFromCodes {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const PackedMatrix* matrix, std::int64_t begin,
                                    std::int64_t end, Inputs inputs, std::int64_t batch,
                                    float* outputs) {
    std::int64_t b = 0;
    for (; b + 4 <= batch; b += 4) {
      run_rows<Mode, kRowsOfFour, 4>(*matrix, begin, end, of(inputs, b),
                                     outputs + b * matrix->rows);
    }
    for (; b < batch; ++b) {
      run_rows<Mode, 4, 1>(*matrix, begin, end, of(inputs, b), outputs + b * matrix->rows);
    }
  }

private:
  // Rows that share what is read of four inputs: as many as registers hold the sums of. Long codes
  // wait for their values anyway.
  static constexpr int kRowsOfFour = Kind == Codes::longer ? 1 : Width / 4;

  template <MultiplyAdd Mode, int Rows, int Batch>
  static WKM_ALWAYS_INLINE void run_rows(const PackedMatrix& matrix, std::int64_t begin,
                                         std::int64_t end, const Inputs& inputs, float* outputs) {
    std::int64_t row = begin;
    for (; row + Rows <= end; row += Rows) {
      multiply_rows<Mode, Width, Kind, Rows, Batch>(matrix, row, end, inputs, outputs);
    }
    if constexpr (Rows > 1) {
      for (; row < end; ++row) {
        multiply_rows<Mode, Width, Kind, 1, Batch>(matrix, row, end, inputs, outputs);
      }
    }
  }

  static WKM_ALWAYS_INLINE Inputs of(const Inputs& inputs, std::int64_t first) {
    return {inputs.values + first * inputs.stride, inputs.stride};
  }
};

template <int Width>
void multiply_task(const PackedMatrix& matrix, std::int64_t begin, std::int64_t end,
                   const Inputs& inputs, std::int64_t batch, float* outputs) {
  if (matrix.bits > 4) {
    dispatch_fused<MultiplyFromCodes<Width, Codes::longer>>(&matrix, begin, end, inputs, batch,
                                                            outputs);
    return;
  }
  if constexpr (Width == 16) {
    if (is_interleaved(matrix)) {
      dispatch_fused<MultiplyFromCodes<Width, Codes::nibbles>>(&matrix, begin, end, inputs, batch,
                                                               outputs);
      return;
    }
  }
  dispatch_fused<MultiplyFromCodes<Width, Codes::shorter>>(&matrix, begin, end, inputs, batch,
                                                           outputs);
}

using FloatTile = Tile<float>;

// Weights of kColumns rows, column after column; zeros for rows and columns that are not there.
struct UnpackPanel {
  static WKM_ALWAYS_INLINE void run(const PackedMatrix* matrix, std::int64_t first,
                                    Range<std::int64_t> columns, float* panel) {
    for (std::int64_t r = 0; r < FloatTile::kColumns; ++r) {
      const std::int64_t row = first + r;
      if (row >= matrix->rows) {
        for (std::int64_t i = 0; i < columns.size(); ++i) panel[i * FloatTile::kColumns + r] = 0;
        continue;
      }
      const std::uint8_t* codes = matrix->codes + row * matrix->row_bytes();
      const std::uint32_t mask = (1u << matrix->bits) - 1;
      float spare[256];
      std::int64_t number = columns.begin / matrix->group;
      const float* table = matrix->table(row, number, spare);
      for (std::int64_t i = 0; i < columns.size(); ++i) {
        const std::int64_t column = columns.begin + i;
        if (column == (number + 1) * matrix->group) table = matrix->table(row, ++number, spare);
        const std::int64_t bit = column * matrix->bits;
        const std::uint32_t two_bytes = codes[bit / 8] | std::uint32_t{codes[bit / 8 + 1]} << 8;
        panel[i * FloatTile::kColumns + r] = table[(two_bytes >> (bit % 8)) & mask];
      }
    }
  }
};

// Adds the product of panels of inputs with a panel of weights to outputs (batch, rows).
struct AddPanel {
  template <MultiplyAdd Mode>
  static WKM_ALWAYS_INLINE void run(const float* inputs, std::int64_t batch,
                                    std::int64_t panel_size, const float* panel, std::int64_t depth,
                                    std::int64_t width, float* outputs, std::int64_t rows) {
    for (std::int64_t b = 0; b < batch; b += FloatTile::kRows) {
      float tile[FloatTile::kSize];
      FloatTile::multiply<Mode>(inputs + b / FloatTile::kRows * panel_size, panel, depth, tile);
      const std::int64_t height = std::min<std::int64_t>(FloatTile::kRows, batch - b);
      for (std::int64_t i = 0; i < height; ++i) {
        for (std::int64_t r = 0; r < width; ++r) {
          outputs[(b + i) * rows + r] += tile[i * FloatTile::kColumns + r];
        }
      }
    }
  }
};

void interleave(float* inputs, std::int64_t count) {
  for (std::int64_t step = 0; step < count; step += kStep) {
    float moved[kStep];
    for (int lane = 0; lane < kStep; ++lane) moved[lane] = inputs[step + interleaved(lane)];
    std::copy_n(moved, kStep, inputs + step);
  }
}

void multiply_from_codes(const PackedMatrix& matrix, const float* inputs, std::int64_t batch,
                         const Parallel& parallel, float* outputs) {
  const std::int64_t stride = whole_steps(matrix.columns);
  Buffer<float> padded(static_cast<std::size_t>(batch * stride));
  for (std::int64_t b = 0; b < batch; ++b) {
    float* target = padded.data() + b * stride;
    std::copy_n(inputs + b * matrix.columns, matrix.columns, target);
    std::fill(target + matrix.columns, target + stride, 0.0f);
    if (is_interleaved(matrix)) interleave(target, stride);
  }
  const Inputs whole{padded.data(), stride};
  parallel.run((matrix.rows + kTaskRows - 1) / kTaskRows, [&](std::int64_t task) {
    const std::int64_t begin = task * kTaskRows;
    const std::int64_t end = std::min(matrix.rows, begin + kTaskRows);
    if (active_isa() == Isa::avx512) {
      multiply_task<16>(matrix, begin, end, whole, batch, outputs);
    } else {
      multiply_task<8>(matrix, begin, end, whole, batch, outputs);
    }
  });
}

void multiply_by_tiles(const PackedMatrix& matrix, const float* inputs, std::int64_t batch,
                       const Parallel& parallel, float* outputs) {
  constexpr std::int64_t kDepth = 512;
  const std::int64_t n = matrix.columns;
  const std::int64_t n_panels = panel_count(batch, FloatTile::kRows);
  Buffer<float> packed(static_cast<std::size_t>(n_panels * FloatTile::kRows * n));
  parallel.run(n_panels, [&](std::int64_t panel) {
    auto out = static_cast<std::size_t>(panel * FloatTile::kRows * n);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t r = 0; r < FloatTile::kRows; ++r) {
        const std::int64_t b = panel * FloatTile::kRows + r;
        packed[out++] = b < batch ? inputs[b * n + i] : 0.0f;
      }
    }
  });
  std::fill(outputs, outputs + batch * matrix.rows, 0.0f);
  parallel.run(panel_count(matrix.rows, FloatTile::kColumns), [&](std::int64_t number) {
    const std::int64_t first = number * FloatTile::kColumns;
    Buffer<float> panel(static_cast<std::size_t>(std::min(kDepth, n) * FloatTile::kColumns));
    for (std::int64_t column = 0; column < n; column += kDepth) {
      const Range<std::int64_t> columns{column, std::min(n, column + kDepth)};
      dispatch<UnpackPanel>(&matrix, first, columns, panel.data());
      dispatch_fused<AddPanel>(static_cast<const float*>(packed.data()) + column * FloatTile::kRows,
                               batch, n * FloatTile::kRows, static_cast<const float*>(panel.data()),
                               columns.size(),
                               std::min<std::int64_t>(FloatTile::kColumns, matrix.rows - first),
                               outputs + first, matrix.rows);
    }
  });
}

}  // namespace

void multiply_by_codes(const PackedMatrix& matrix, const float* inputs, std::int64_t batch,
                       const Parallel& parallel, float* outputs) {
  // A step of codes must not straddle two codebooks.
  const bool in_steps = matrix.group >= matrix.columns || matrix.group % kStep == 0;
  if (batch <= kFromCodes && in_steps) {
    multiply_from_codes(matrix, inputs, batch, parallel, outputs);
  } else {
    multiply_by_tiles(matrix, inputs, batch, parallel, outputs);
  }
}

}  // namespace wkmeans
