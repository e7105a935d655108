"""The kind "lattice": integers, and a scale for each row and column."""

from __future__ import annotations

from typing import Any

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.checks import MAX_K
from wkmeans._kernels.dtypes import FLOAT_DTYPES
from wkmeans.compression.format.fields import Fields, Payload
from wkmeans.compression.format.kinds.kind import Kind
from wkmeans.compression.lattice.coding import (
    ADAPTIVE,
    MOST_ADAPTIVE,
    PACKED,
    WIDTHS,
    EncodedIntegers,
)
from wkmeans.compression.lattice.scales import MOST, IntArray, decode_scales, origin_of
from wkmeans.compression.lattice.tensor import LatticeTensor, exponents_fit, lattice_tensor


def _describe(tensor: LatticeTensor) -> dict[str, Any]:
    encoded = tensor.encoded
    described: dict[str, Any] = {
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "lines": [encoded.rows, encoded.columns],
        **_described_scales(encoded),
        "codes": [encoded.low, encoded.k],
        "width": WIDTHS.index(encoded.width),
        "bytes": int(encoded.payload.size),
    }
    if encoded.chunk is not None:
        described["chunk"] = encoded.chunk
    if encoded.block is not None:
        described["trellis"] = encoded.block
    if tensor.transposed:
        described["transposed"] = True
    if not tensor.has_integers:
        described["codebook"] = True
    return described | {"cost": tensor.cost}


def _described_scales(encoded: EncodedIntegers) -> dict[str, Any]:
    lines = encoded.row_exponents, encoded.column_exponents
    if encoded.scales is None:
        return {"least": [int(exponents.min()) for exponents in lines]}
    return {"origin": list(origin_of(*lines)), "scales": int(encoded.scales.size)}


def _parts(tensor: LatticeTensor) -> list[Array]:
    encoded = tensor.encoded
    scales = [encoded.scales] if encoded.scales is not None else _plain_scales(encoded)
    codebook = [] if tensor.has_integers else [tensor.codebook]
    return [*codebook, *scales, encoded.payload]


def _plain_scales(encoded: EncodedIntegers) -> list[Array]:
    lines = encoded.row_exponents, encoded.column_exponents
    return [(exponents - exponents.min()).astype(np.uint8) for exponents in lines]


def _read(fields: Fields, payload: Payload) -> LatticeTensor:
    dtype = fields.choice("dtype", FLOAT_DTYPES)
    shape = fields.shape()
    if 0 in shape:
        raise fields.unexpected("shape", shape)
    n_rows, n_columns = _pair(fields, "lines", 1, 2**40)
    low, k = _pair(fields, "codes", -MAX_K, MAX_K)
    if k < 1:
        raise fields.unexpected("codes", [low, k])
    width = _width(fields)
    size = fields.count_or_none("bytes")  # one integer everywhere takes none
    transposed = fields.flag("transposed")
    codebook = None
    if fields.flag("codebook"):
        codebook = payload.take(fields, "codebook", "float32", (1, k))
    scales, rows, columns = _scales(fields, payload, n_rows, n_columns)
    if not exponents_fit(shape, rows, columns):
        raise fields.unexpected("lines", [n_rows, n_columns])
    codes = payload.take(fields, "codes", "uint8", (size,))
    if WIDTHS[width] == ADAPTIVE and n_rows * n_columns > MOST_ADAPTIVE:
        raise fields.unexpected("lines", [n_rows, n_columns])
    block = _trellis(fields, WIDTHS[width], low, k)
    chunk = fields.chunk() if block is None and WIDTHS[width] not in (PACKED, ADAPTIVE) else None
    encoded = EncodedIntegers(codes, rows, columns, WIDTHS[width], low, k, scales, chunk, block)
    try:
        encoded.check()
    except FormatError as error:
        raise FormatError(f"{fields.where}: {error}") from None
    return lattice_tensor(
        encoded, shape, dtype, transposed=transposed, cost=fields.cost(), codebook=codebook
    )


def _pair(fields: Fields, name: str, low: int, high: int) -> tuple[int, int]:
    value = fields.take(name)
    is_pair = type(value) is list and len(value) == 2 and all(type(n) is int for n in value)
    if not is_pair or not all(low <= n <= high for n in value):
        raise fields.unexpected(name, value)
    return value[0], value[1]


def _width(fields: Fields) -> int:
    value = fields.take("width")
    if type(value) is not int or not 0 <= value < len(WIDTHS):
        raise fields.unexpected("width", value)
    return value


def _trellis(fields: Fields, width: int, low: int, k: int) -> int | None:
    """The rows of a block, where integers follow a trellis."""
    block = fields.count("trellis") if fields.has("trellis") else None
    if block is not None and (width == PACKED or low % 2 or k % 2):
        raise fields.unexpected("trellis", block)
    return block


def _scales(
    fields: Fields, payload: Payload, n_rows: int, n_columns: int
) -> tuple[Array | None, IntArray, IntArray]:
    """The exponents as bytes, where they are coded, and those of rows and columns."""
    if not fields.has("scales"):
        least = _pair(fields, "least", -MOST, MOST)
        rows = _exponents(fields, payload, "scales of rows", n_rows, least[0])
        columns = _exponents(fields, payload, "scales of columns", n_columns, least[1])
        return None, rows, columns
    origin = _pair(fields, "origin", -MOST, MOST)
    scales = payload.take(fields, "scales", "uint8", (fields.count("scales"),))
    try:
        return scales, *decode_scales(scales, n_rows, n_columns, origin)
    except FormatError as error:
        raise FormatError(f"{fields.where}: {error}") from None


def _exponents(fields: Fields, payload: Payload, what: str, size: int, least: int) -> IntArray:
    values = payload.take(fields, what, "uint8", (size,)).astype(np.int64) + least
    if values.min() != least:
        raise FormatError(f"{fields.where}: expected the least of the {what} to be {least}")
    return np.asarray(values)


LATTICE = Kind("lattice", LatticeTensor, _describe, _parts, _read)
