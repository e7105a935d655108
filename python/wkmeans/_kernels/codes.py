"""Products with weight matrices that stay codes: looked up as they are multiplied.

**The layout.** A matrix ``(rows, columns)`` has ``b = ceil(log2 k)`` bits a code, 1 to 8. Code i of
a row takes its bits ``[i b, (i + 1) b)``, bit j being bit ``j mod 8``, the least significant first,
of byte ``j div 8``; each row begins with a byte of its own. Where ``columns * b`` is a multiple of
8 these are the bytes of a file's coding ``packed`` as they stand; other rows are moved to whole
bytes, and a single codeword, for which files spend no bits, takes one. Codebooks of ``2^b`` values
each stay float32, float16 or bfloat16: one for the matrix, for each row, or for each group of
columns of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels.arrays import ArrayLike, Operand, as_operand
from wkmeans._kernels.threads import resolve_n_threads

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MAX_BITS = 8
# Bytes and values that the kernels may read behind the last row and the last codebook.
_CODE_PADDING = 32
_TABLE_PADDING = 16
_PACKED_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """A weight matrix as packed codes and codebooks; made by `from_packed` or `from_labels`.

    Attributes
    ----------
    codes : uint8 array
        The rows, and some bytes behind them.
    tables : uint8 array
        The codebooks' bytes, and those of some values behind them.
    shape : (int, int)
        Rows and columns.
    bits : int
        Of each code.
    group : int
        Columns that share a codebook.
    """

    codes: Bytes
    tables: Bytes
    shape: tuple[int, int]
    bits: int
    group: int
    kernel: _core.PackedMatrix

    @property
    def nbytes(self) -> int:
        """Memory of codes and codebooks."""
        return int(self.codes.nbytes + self.tables.nbytes)

    def multiply(self, inputs: Floats, n_threads: int | None = None) -> Floats:
        """``inputs @ weights.T`` of inputs ``(batch, columns)``, without the weights.

        Up to 16 inputs are multiplied by codes as these are looked up, in permuted registers for
        codes of up to 4 bits; more of them by tiles that are unpacked. Sums are single precision.
        The same bits for every number of threads.
        """
        values = np.ascontiguousarray(inputs, np.float32)
        if values.ndim != 2 or values.shape[1] != self.shape[1]:
            raise ValueError(f"inputs: expected shape (batch, {self.shape[1]}), got {values.shape}")
        return self.kernel.multiply(values, resolve_n_threads(n_threads))


def from_packed(
    payload: Bytes,
    codebooks: ArrayLike,
    shape: tuple[int, int],
    *,
    group: int | None = None,
) -> PackedMatrix:
    """Of a file's packed codes.

    Parameters
    ----------
    payload : uint8 array
        ``ceil(rows columns b / 8)`` bytes: code i of the whole matrix, in C order, takes bits ``[i
        b, (i + 1) b)``.
    codebooks : array or tensor (count, k)
        What codes stand for, scales multiplied in: float16 and bfloat16 are kept so, others taken
        as float32. One for the matrix, or with
        `group` those of all groups of the first row, then of the second and so on.
    shape : (int, int)
        Rows and columns.
    group : int, optional
        Columns of a row that share a codebook; None where all weights do.

    Raises
    ------
    ValueError
        For more than 256 codewords, numbers of bytes or codebooks that do not fit, or codewords
        that are not finite.
    """
    rows, columns = shape
    tables = _tables(as_operand("codebooks", codebooks), shape, group)
    bits = tables[2]
    if bits == 1 and not payload.size:  # of a single codeword
        payload = np.zeros((rows * columns + 7) // 8, np.uint8)
    expected = (rows * columns * bits + 7) // 8
    if payload.dtype != np.uint8 or payload.shape != (expected,):
        raise ValueError(
            f"payload: expected {expected} bytes for {rows} x {columns} codes of {bits} bits, got "
            f"shape {payload.shape} of {payload.dtype}"
        )
    if columns * bits % 8:
        unpacked = np.unpackbits(payload, count=rows * columns * bits, bitorder="little")
        payload = np.packbits(unpacked.reshape(rows, -1), axis=1, bitorder="little").reshape(-1)
    codes = np.zeros(payload.size + _CODE_PADDING, np.uint8)
    codes[: payload.size] = payload
    return _matrix(codes, tables, shape, group)


def from_labels(
    labels: npt.NDArray[np.integer], codebooks: ArrayLike, *, group: int | None = None
) -> PackedMatrix:
    """Of labels ``(rows, columns)``; other parameters as for `from_packed`."""
    if labels.ndim != 2:
        raise ValueError(f"labels: expected shape (rows, columns), got {labels.shape}")
    k = as_operand("codebooks", codebooks).shape[-1]
    if labels.size and not 0 <= labels.min() <= labels.max() < k:
        raise ValueError(f"labels: expected 0 to {k - 1}, got {labels.min()} to {labels.max()}")
    rows, columns = labels.shape
    tables = _tables(as_operand("codebooks", codebooks), (rows, columns), group)
    row_bytes = (columns * _bits(k) + 7) // 8
    codes = np.zeros(rows * row_bytes + _CODE_PADDING, np.uint8)
    shifts = np.arange(_bits(k), dtype=np.uint8)
    step = max(1, _PACKED_AT_ONCE // columns)  # on the way each bit takes a byte
    for start in range(0, rows, step):
        part = labels[start : start + step]
        bits = (part.astype(np.uint8)[:, :, None] >> shifts) & 1
        packed = np.packbits(bits.reshape(len(part), -1), axis=1, bitorder="little")
        codes[start * row_bytes :][: packed.size] = packed.reshape(-1)
    return _matrix(codes, tables, (rows, columns), group)


def _matrix(
    codes: Bytes, codebooks: tuple[Bytes, str, int], shape: tuple[int, int], group: int | None
) -> PackedMatrix:
    """Of rows that begin with bytes of their own, and padding."""
    tables, dtype, bits = codebooks
    rows, columns = shape
    wide = columns if group is None else group
    kernel = _core.PackedMatrix(codes, rows, columns, bits, tables, dtype, wide, group is None)
    return PackedMatrix(codes, tables, shape, bits, wide, kernel)


def _bits(k: int) -> int:
    return max(1, (k - 1).bit_length())


def _tables(
    codebooks: Operand, shape: tuple[int, int], group: int | None
) -> tuple[Bytes, str, int]:
    """Codebooks of 2^bits values each, as codes are masked to bits and no further, and padding."""
    rows, columns = shape
    if rows < 1 or columns < 1:
        raise ValueError(f"shape: expected positive numbers, got {shape}")
    if group is not None and group < 1:
        raise ValueError(f"group: expected at least 1, got {group}")
    count = 1 if group is None else rows * -(-columns // group)
    found = codebooks.shape
    if len(found) != 2 or found[0] != count or not 1 <= found[1] <= 1 << MAX_BITS:
        raise ValueError(
            f"codebooks: expected shape ({count}, k) with k up to {1 << MAX_BITS}, got {found}"
        )
    values, dtype = codebooks.memory, codebooks.dtype
    with np.errstate(over="ignore"):
        single = codebooks.values().astype(np.float32)
    if dtype == "float64":
        values, dtype = single, "float32"
    if not np.isfinite(single).all():
        raise ValueError("codebooks: expected finite codewords in single precision")
    bits = _bits(found[1])
    tables = np.zeros((count << bits) + _TABLE_PADDING, values.dtype)
    tables[: count << bits].reshape(count, -1)[:, : found[1]] = values
    return tables.view(np.uint8), dtype, bits
