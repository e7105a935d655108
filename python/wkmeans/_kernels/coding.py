"""Codes as words of an entropy coder or as packed bits, and the values that labels stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.threads import resolve_n_threads

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CodeTables:
    """How often codes occur in each class.

    Attributes
    ----------
    first : int64 array (classes,)
        The code that the first of a class's counts is for.
    sizes : int64 array (classes,)
        How many counts a class has.
    counts : int64 array (sizes.sum(),)
        Those of all classes in turn.
    """

    first: IntArray
    sizes: IntArray
    counts: IntArray

    @classmethod
    def of(cls, tables: list[tuple[int, IntArray]]) -> CodeTables:
        """From the first code and the counts of each class."""
        return cls(
            np.array([first for first, _ in tables], np.int64),
            np.array([len(counts) for _, counts in tables], np.int64),
            np.concatenate([counts for _, counts in tables]).astype(np.int64),
        )

    def every(self, step: int, start: int) -> CodeTables:
        """The tables start, start + step, and so on."""
        ends = np.cumsum(self.sizes)
        kept = range(start, len(self.sizes), step)
        counts = [self.counts[ends[i] - self.sizes[i] : ends[i]] for i in kept]
        return CodeTables.of([(int(self.first[i]), c) for i, c in zip(kept, counts, strict=True)])

    def totals(self, k: int) -> IntArray:
        """How often each code below k occurs in all classes together."""
        totals, begin = np.zeros(k, np.int64), 0
        for first, size in zip(self.first.tolist(), self.sizes.tolist(), strict=True):
            totals[first : first + size] += self.counts[begin : begin + size]
            begin += size
        return totals


@dataclass(frozen=True)
class CodeClasses:
    """The class of each weight of a matrix, and the chunks it is coded in.

    Attributes
    ----------
    of_row : int array (rows,)
    of_column : int array (columns,) or None
        The class is ``(of_row + of_column) >> shift``; None: ``of_row >> shift``.
    columns, shift : int
    chunk : int or None
        So many weights in C order are coded independently of all others; None: all are one chunk.
    block, low : int or None, int
        Codes are integers, less `low` which is even, that follow a trellis down the rows of each
        column, anew every `block` rows. Then each class has two tables, of half the codes: one for
        even integers, one for odd.
    """

    of_row: npt.NDArray[Any]
    of_column: npt.NDArray[Any] | None
    columns: int
    shift: int
    chunk: int | None
    block: int | None = None
    low: int = 0

    def arguments(self) -> tuple[Array, Array, int, int, int, int, int]:
        """As the kernel takes them."""
        rows = np.asarray(self.of_row, np.int32)
        columns = np.asarray(() if self.of_column is None else self.of_column, np.int32)
        chunk = self.chunk or len(rows) * self.columns
        return rows, columns, self.columns, self.shift, chunk, self.block or 0, self.low // 2


def encode_codes(codes: Array, classes: CodeClasses, tables: CodeTables) -> tuple[Array, IntArray]:
    """The uint32 words of codes ``(rows, columns)``, and where those of each chunk end.

    Each code has a count in the table of its class. The stream is described in docs/format.md.
    """
    narrow = codes.astype(np.uint8 if codes.dtype == np.uint8 else np.uint16, copy=False)
    return _core.encode_codes(
        np.ascontiguousarray(narrow),
        *classes.arguments(),
        tables.first,
        tables.sizes,
        tables.counts,
        resolve_n_threads(None),
    )


def decode_codes(
    words: Array, ends: IntArray, classes: CodeClasses, tables: CodeTables, dtype: np.dtype[Any]
) -> Array | None:
    """What `encode_codes` was given; None where words do not end where the codes do."""
    return _core.decode_codes(
        words,
        ends,
        *classes.arguments(),
        tables.first,
        tables.sizes,
        tables.counts,
        dtype.name,
        resolve_n_threads(None),
    )


def encode_adaptively(
    integers: Array, row_spread: Array, column_spread: Array, block: int | None = None
) -> Array:
    """The uint32 words of integers ``(rows, columns)``, by probabilities learnt on the way.

    Parameters
    ----------
    integers : int array (rows, columns)
        Less than 2^20 in magnitude.
    row_spread, column_spread : int array (rows,), (columns,)
        Not negative: integers whose sums are equal are expected to be of one size.
    block : int, optional
        Down each column integers follow a trellis, anew every so many rows.
    """
    return _core.encode_adaptively(
        np.ascontiguousarray(integers, np.int32),
        np.asarray(row_spread, np.int32),
        np.asarray(column_spread, np.int32),
        block or 0,
    )


def decode_adaptively(
    words: Array, row_spread: Array, column_spread: Array, block: int | None = None
) -> Array | None:
    """What `encode_adaptively` was given; None where words do not end where the integers do."""
    return _core.decode_adaptively(
        words, np.asarray(row_spread, np.int32), np.asarray(column_spread, np.int32), block or 0
    )


def unpack_codes(packed: Array, size: int, bits: int, k: int, dtype: np.dtype[Any]) -> Array | None:
    """Codes of 1 to 16 bits each, the least significant first; None where one is not below k."""
    return _core.unpack_codes(
        np.ascontiguousarray(packed), size, bits, k, dtype.name, resolve_n_threads(None)
    )


def look_up(labels: Array, tables: Array, group: int) -> Array:
    """``table[label]`` of every weight of a matrix.

    Parameters
    ----------
    labels : uint8 or uint16 array (rows, columns)
        In C or in Fortran order; below k.
    tables : array (n, k)
        Of a dtype of 2, 4 or 8 bytes.
    group : int
        How many columns of a row share a table; 0: there is one table.

    Returns
    -------
    array (rows, columns)
        In the dtype of the tables.
    """
    bits = np.ascontiguousarray(tables).view(f"u{tables.dtype.itemsize}")
    is_transposed = not labels.flags.c_contiguous and labels.flags.f_contiguous
    held = labels.T if is_transposed else np.ascontiguousarray(labels)
    values: Array = _core.look_up(held, is_transposed, bits, group, resolve_n_threads(None))
    return values.view(tables.dtype)


def look_up_scaled(
    labels: Array, table: Array, row_scales: Array, column_scales: Array, dtype: str
) -> Array:
    """``table[label] * row_scale * column_scale`` in double, rounded to float32 or float64."""
    return _core.look_up_scaled(
        np.ascontiguousarray(labels),
        np.ascontiguousarray(table, np.float64),
        np.ascontiguousarray(row_scales, np.float64),
        np.ascontiguousarray(column_scales, np.float64),
        dtype,
        resolve_n_threads(None),
    )
