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

// Of four bits, of fewer, or of more.
enum class Codes { nibbles, shorter, longer };

// Whether inputs lie as `interleaved` says, in every step.
bool is_interleaved(const PackedMatrix& matrix) {
  return active_isa() == Isa::avx512 && matrix.bits == 4;
}

// `Rows` rows of weights with `Batch` inputs: each code is looked up once for all of them.
template <int Width, Codes Kind, int Rows, int Batch>
WKM_ALWAYS_INLINE void multiply_rows(const PackedMatrix& matrix, std::int64_t row,
                                     const Inputs& inputs, float* outputs) {
  using Lanes = CodeLanes<Width>;
  const Lanes lanes(matrix.bits);
  const std::int64_t bytes = matrix.row_bytes();
  const std::uint8_t* codes = matrix.codes + row * bytes;
  typename Lanes::Values sums[Rows][Batch] = {};
  constexpr bool kFit = Kind != Codes::longer;
  float spare[Rows][kFit ? 16 : 256];
  for (std::int64_t number = 0; number < matrix.groups(); ++number) {
    typename Lanes::Table tables[Rows];
    WKM_UNROLL(4)
    for (int r = 0; r < Rows; ++r) {
      if constexpr (kFit) {
        tables[r].load(matrix.table_of_sixteen(row + r, number, spare[r]));
      } else {
        tables[r].load(matrix.table(row + r, number, spare[r]));
      }
    }
    const std::int64_t begin = number * matrix.group;
    const std::int64_t end = std::min(matrix.columns, begin + matrix.group);
    for (std::int64_t column = begin; column < end; column += Width) {
      WKM_UNROLL(4)
      for (int r = 0; r < Rows; ++r) {
        constexpr int kNibble = 4;
        const int bits = Kind == Codes::nibbles ? kNibble : matrix.bits;
        const std::uint8_t* at = codes + r * bytes + column / 8 * bits;
        typename Lanes::Values values;
        if constexpr (Kind == Codes::nibbles) {
          lanes.nibbles(tables[r], at, values);
        } else if constexpr (Kind == Codes::shorter) {
          lanes.short_codes(tables[r], at, values);
        } else {
          lanes.long_codes(tables[r], at, values);
        }
        WKM_UNROLL(4)
        for (int b = 0; b < Batch; ++b) {
          add_product(values, inputs.values + b * inputs.stride + column, sums[r][b]);
        }
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int b = 0; b < Batch; ++b) {
      float total = 0.0f;
      for (int lane = 0; lane < Width; ++lane) total += sums[r][b][lane];
      outputs[b * matrix.rows + row + r] = total;
    }
  }
}

// Some rows of weights with all inputs, four by four.
template <int Width, Codes Kind>
struct MultiplyFromCodes {
  static WKM_ALWAYS_INLINE void run(const PackedMatrix* matrix, std::int64_t begin,
                                    std::int64_t end, Inputs inputs, std::int64_t batch,
                                    float* outputs) {
    std::int64_t b = 0;
    for (; b + 4 <= batch; b += 4) {
      for (std::int64_t row = begin; row < end; ++row) {
        multiply_rows<Width, Kind, 1, 4>(*matrix, row, of(inputs, b), outputs + b * matrix->rows);
      }
    }
    for (; b < batch; ++b) {
      std::int64_t row = begin;
      for (; row + 4 <= end; row += 4) {
        multiply_rows<Width, Kind, 4, 1>(*matrix, row, of(inputs, b), outputs + b * matrix->rows);
      }
      for (; row < end; ++row) {
        multiply_rows<Width, Kind, 1, 1>(*matrix, row, of(inputs, b), outputs + b * matrix->rows);
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
    dispatch<MultiplyFromCodes<Width, Codes::longer>>(&matrix, begin, end, inputs, batch, outputs);
    return;
  }
  if constexpr (Width == 16) {
    if (is_interleaved(matrix)) {
      dispatch<MultiplyFromCodes<Width, Codes::nibbles>>(&matrix, begin, end, inputs, batch,
                                                         outputs);
      return;
    }
  }
  dispatch<MultiplyFromCodes<Width, Codes::shorter>>(&matrix, begin, end, inputs, batch, outputs);
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
