"""Scales of rows and columns as whole numbers of sixteenths of an octave.

What a file means hangs on no platform's powers of 2: sixteen constants, and shifts of exponents.
"""

from __future__ import annotations

from collections.abc import Sized

import numpy as np
import numpy.typing as npt

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.coding import decode_adaptively, encode_adaptively

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PER_OCTAVE = 16
MOST = 4 * PER_OCTAVE * 256
"""No exponent of a file, nor the sum of two, is as large as this."""

_MOST_APART = 255

_SIXTEENTHS = np.array([
    1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916,
    1.189207115002721, 1.241857812073484, 1.2968395546510096, 1.3542555469368927,
    1.4142135623730951, 1.4768261459394993, 1.5422108254079407, 1.6104903319492543,
    1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
])  # fmt: skip


def scale_of(exponents: IntArray) -> FloatArray:
    """``2^(exponent / 16)``."""
    return np.asarray(np.ldexp(_SIXTEENTHS[exponents % PER_OCTAVE], exponents // PER_OCTAVE))


def nearest_exponents(scales: FloatArray, octaves: int = 15) -> IntArray:
    """The exponents nearest to positive scales, none more octaves below the largest than given."""
    exponents = np.rint(np.log2(scales) * PER_OCTAVE).astype(np.int64)
    least = exponents.max() - octaves * PER_OCTAVE
    return np.asarray(np.maximum(exponents, least))


_LINES_PER_BYTE = 64
"""No coded scales are shorter, so that a short file cannot have many of them decoded."""
_OF_ROWS, _OF_COLUMNS = 0, 8
"""What tells rows from columns where probabilities are learnt."""


def encode_scales(rows: IntArray, columns: IntArray) -> Array | None:
    """Exponents as bytes: of rows as they are, of columns as differences from one to the next.

    Counted from `origin_of`. None where they are too many for the bytes.
    """
    first_row, first_column = origin_of(rows, columns)
    steps = np.diff(columns, prepend=first_column)
    words = encode_adaptively(np.append(rows - first_row, steps)[np.newaxis], *_spread(rows, steps))
    if not _are_few(len(rows) + len(columns), 4 * words.size):
        return None
    return np.frombuffer(words.astype("<u4").tobytes(), np.uint8)


def decode_scales(
    payload: Array, n_rows: int, n_columns: int, origin: tuple[int, int]
) -> tuple[IntArray, IntArray]:
    """What `encode_scales` was given; raises `FormatError` where the payload is unsound."""
    if payload.size % 4 or not _are_few(n_rows + n_columns, payload.size):
        raise FormatError(f"scales: {payload.size} bytes cannot be those of {n_rows + n_columns}")
    words = np.frombuffer(payload.tobytes(), "<u4").astype(np.uint32)
    found = decode_adaptively(words, *_spread(range(n_rows), range(n_columns)))
    if found is None:
        raise FormatError("scales: the entropy-coded words do not end where they do")
    values = found[0].astype(np.int64)
    rows, columns = origin[0] + values[:n_rows], origin[1] + np.cumsum(values[n_rows:])
    for what, lines in (("rows", rows), ("columns", columns)):
        if np.abs(lines).max() > MOST or np.ptp(lines) > _MOST_APART:
            raise FormatError(f"scales: those of {what} are too far apart")
    return rows, columns


def origin_of(rows: IntArray, columns: IntArray) -> tuple[int, int]:
    """What exponents are counted from: about the middle of the rows', and the first column's."""
    return int(np.median(rows)), int(columns[0])


def _spread(rows: Sized, columns: Sized) -> tuple[IntArray, IntArray]:
    kinds = np.repeat([_OF_ROWS, _OF_COLUMNS], [len(rows), len(columns)])
    return np.zeros(1, np.int64), kinds


def _are_few(n_lines: int, n_bytes: int) -> bool:
    return n_lines <= _LINES_PER_BYTE * n_bytes
