#include <pybind11/numpy.h>

#include <string>

#include "bind/interruptible.h"
#include "bind/module.h"
#include "cpu/codes/packed_matrix.h"

namespace wkmeans {
namespace {

namespace py = pybind11;

using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

CodewordType codeword_type(const std::string& name) {
  if (name == "float32") return CodewordType::float32;
  if (name == "float16") return CodewordType::float16;
  if (name == "bfloat16") return CodewordType::bfloat16;
  throw py::value_error("codebooks: expected float32, float16 or bfloat16, got " + name);
}

// Holds references to the arrays that are read where they lie.
class BoundPackedMatrix {
public:
  // tables: bytes of codewords, of which NumPy need not know the type.
  BoundPackedMatrix(const Bytes& codes, std::int64_t rows, std::int64_t columns, int bits,
                    const Bytes& tables, const std::string& type, std::int64_t group,
                    bool is_shared)
      : codes_(codes), tables_(tables), matrix_{codes.data(), rows,          columns,
                                                bits,         tables.data(), codeword_type(type),
                                                group,        is_shared} {
    check(rows > 0 && columns > 0 && group > 0, "shape: expected positive numbers");
    check(bits >= 1 && bits <= 8, "bits: expected 1 to 8");
    check(codes.size() >= rows * matrix_.row_bytes() + kCodePadding,
          "codes: expected whole rows, and padding behind them");
    const std::int64_t count = is_shared ? 1 : rows * matrix_.groups();
    check(!is_shared || group >= columns, "group: expected all columns of a shared codebook");
    // The permuted table is read as 16 values, whatever the bits.
    check(tables.size() >= ((count << bits) + 16) * size_of(matrix_.type),
          "tables: expected 2^bits values each, and padding");
  }

  py::array_t<float> multiply(const Floats& inputs, int n_threads) const {
    check(inputs.ndim() == 2 && inputs.shape(1) == matrix_.columns,
          "inputs: expected rows of as many values as the matrix has columns");
    const std::int64_t batch = inputs.shape(0);
    py::array_t<float> outputs({batch, matrix_.rows});
    const float* from = inputs.data();
    float* to = outputs.mutable_data();
    run_interruptibly([&] { multiply_by_codes(matrix_, from, batch, Parallel(n_threads), to); });
    return outputs;
  }

private:
  static void check(bool holds, const char* message) {
    if (!holds) throw py::value_error(message);
  }

  Bytes codes_;
  Bytes tables_;
  PackedMatrix matrix_;
};

}  // namespace

void bind_codes(py::module_& module) {
  py::class_<BoundPackedMatrix>(module, "PackedMatrix")
      .def(py::init<const Bytes&, std::int64_t, std::int64_t, int, const Bytes&, const std::string&,
                    std::int64_t, bool>(),
           py::arg("codes").noconvert(), py::arg("rows"), py::arg("columns"), py::arg("bits"),
           py::arg("tables").noconvert(), py::arg("type"), py::arg("group"), py::arg("is_shared"))
      .def("multiply", &BoundPackedMatrix::multiply, py::arg("inputs"), py::arg("n_threads"));
}

}  // namespace wkmeans
