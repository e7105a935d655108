"""Integers as bytes: one static table for each class of expected spread.

A row's and a column's scale say how large the integers there will be: the sum of their exponents
sorts every integer into a class, for which nothing needs to be stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans.compression.format.coding import (
    code_dtype,
    constriction,
    model_of,
    pack,
    packed_size,
    read_varints,
    unpack,
    varints,
)
from wkmeans.compression.lattice.scales import IntArray

PACKED = 0
"""In place of a width: codes of one length and no tables, for small tensors."""
WIDTHS = (PACKED, 4, 8, 16, 32, 1 << 20)
"""Sixteenths of an octave that one class may span; the last is one class for all."""

_CHUNK = 1 << 16
LARGEST = 1 << 15
"""Integers of a file are smaller."""


class TooFineError(ValueError):
    """Steps are so small that integers are larger than a file holds."""


@dataclass(frozen=True, eq=False)
class EncodedIntegers:
    """The integers of one tensor ``(rows, columns)``, in bytes; labels count from the least.

    Attributes
    ----------
    payload : uint8 array
    row_exponents, column_exponents : int64 array (rows,), (columns,)
        Of the scales, in sixteenths of an octave.
    width : int
        How many of them one class spans.
    low, k : int
        The least integer, and how many follow one another up to the largest.
    """

    payload: Array
    row_exponents: IntArray
    column_exponents: IntArray
    width: int
    low: int
    k: int
    coding: str = "lattice"

    @property
    def rows(self) -> int:
        return len(self.row_exponents)

    @property
    def columns(self) -> int:
        return len(self.column_exponents)

    @property
    def size(self) -> int:
        return self.rows * self.columns

    def decode(self) -> Array:
        """Labels ``(rows, columns)``; raises `FormatError` where the payload is unsound."""
        if self.width == PACKED:
            return unpack(self.payload, self.size, self.k).reshape(self.rows, self.columns)
        tables, words = read_tables(self)
        try:
            coder = constriction().stream.stack.AnsCoder(words)
        except ValueError as error:
            raise FormatError(f"codes: {error}") from None
        classes = self._classes()
        labels = np.empty((self.rows, self.columns), code_dtype(self.k))
        for index, counts in enumerate(tables):
            total = int(counts.sum())
            if not total:
                continue
            used = np.flatnonzero(counts)
            part = np.full(total, used[0], labels.dtype)
            if used.size > 1:
                model, symbols = model_of(counts[used]), used.astype(labels.dtype)
                for start in range(0, total, _CHUNK):
                    ranks = coder.decode(model, min(_CHUNK, total - start))
                    part[start : start + _CHUNK] = symbols[ranks]
            labels[classes == index] = part
        if not coder.is_empty():
            raise FormatError("codes: the entropy-coded words do not end where the codes do")
        return labels

    def counts(self) -> Array:
        """How many weights carry each label, int64 (k,)."""
        if self.width == PACKED:
            return np.bincount(self.decode().reshape(-1), minlength=self.k)
        return np.asarray(np.sum(read_tables(self)[0], axis=0))

    def check(self) -> None:
        """Raise `FormatError` where the payload cannot be these integers, before it is decoded."""
        if self.width != PACKED:
            read_tables(self)
        elif self.payload.size != packed_size(self.size, self.k):
            raise FormatError(
                f"codes: expected {packed_size(self.size, self.k)} bytes, got {self.payload.size}"
            )

    def _classes(self) -> Array:
        return class_of(self.row_exponents, self.column_exponents, self.width)


def class_of(rows: IntArray, columns: IntArray, width: int) -> Array:
    """The class of each weight, ``(rows, columns)``; the smallest steps are class 0."""
    above = (rows - rows.min())[:, np.newaxis] + (columns - columns.min())[np.newaxis]
    return np.asarray(above // width)


def encode_integers(integers: Array, rows: IntArray, columns: IntArray) -> EncodedIntegers:
    """The shortest code among the widths of classes."""
    low, high = int(integers.min()), int(integers.max())
    if max(-low, high) >= LARGEST:
        raise TooFineError(f"integers: expected less than {LARGEST}, got {low} to {high}")
    labels = integers - low
    k = high - low + 1
    payloads = {
        width: pack(labels, k)
        if width == PACKED
        else _payload(labels, k, class_of(rows, columns, width))
        for width in WIDTHS
    }
    width = min(WIDTHS, key=lambda w: payloads[w].size)
    return EncodedIntegers(payloads[width], rows, columns, width, low, k)


def _payload(labels: Array, k: int, classes: Array) -> Array:
    n_classes = int(classes.max()) + 1
    coder = constriction().stream.stack.AnsCoder()
    tables = []
    for index in reversed(range(n_classes)):  # last in, first out
        part = labels[classes == index]
        counts = np.bincount(part, minlength=k)
        tables.append(counts)
        used = np.flatnonzero(counts)
        if used.size > 1:
            ranks = (np.cumsum(counts > 0) - 1).astype(np.int32)
            model = model_of(counts[used])
            for start in reversed(range(0, part.size, _CHUNK)):
                coder.encode_reverse(ranks[part[start : start + _CHUNK]], model)
    head = b"".join(_table_bytes(table) for table in reversed(tables))
    words = coder.get_compressed().astype("<u4").tobytes()
    return np.frombuffer(head + words, np.uint8)


def _table_bytes(counts: Array) -> bytes:
    """Where the counts that are not 0 begin, how many follow, and they."""
    used = np.flatnonzero(counts)
    if not used.size:
        return varints(np.array([0, 0]))
    first, last = int(used[0]), int(used[-1])
    between = counts[first : last + 1]
    return varints(np.concatenate([[first, between.size], between]))


def read_tables(encoded: EncodedIntegers) -> tuple[list[Array], Array]:
    """Counts ``(k,)`` of each class, and the words, all of them checked."""
    populations = list(_populations(encoded))
    tables, position = [], 0
    payload = encoded.payload
    for population in populations:
        (first, size), used = read_varints(payload[position:], 2)
        position += used
        if first + size > encoded.k:
            raise FormatError(
                f"codes: expected {encoded.k} codes, got a table up to {first + size}"
            )
        between, used = read_varints(payload[position:], int(size))
        position += used
        counts = np.zeros(encoded.k, np.int64)
        counts[first : first + size] = between
        if sum(map(int, between)) != population:
            raise FormatError(
                f"codes: expected counts that add up to {population}, got {counts.sum()}"
            )
        tables.append(counts)
    if (payload.size - position) % 4:
        raise FormatError("codes: the payload does not end in whole 32-bit words")
    words = np.frombuffer(payload[position:].tobytes(), "<u4").astype(np.uint32)
    return tables, words


def _populations(encoded: EncodedIntegers) -> Iterator[int]:
    """How many integers each class has, from the histograms of rows and columns."""
    rows = encoded.row_exponents - encoded.row_exponents.min()
    columns = encoded.column_exponents - encoded.column_exponents.min()
    sums = np.convolve(np.bincount(rows), np.bincount(columns))
    for start in range(0, len(sums), encoded.width):
        yield int(sums[start : start + encoded.width].sum())
