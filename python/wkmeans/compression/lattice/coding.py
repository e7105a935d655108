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
from wkmeans._kernels.coding import (
    CodeClasses,
    CodeTables,
    decode_adaptively,
    decode_codes,
    encode_adaptively,
    encode_codes,
)
from wkmeans.compression.format.coding import (
    CHUNK,
    bytes_of_words,
    code_dtype,
    pack,
    packed_size,
    read_varints,
    read_words,
    unpack,
    varints,
)
from wkmeans.compression.lattice.scales import IntArray, encode_scales

PACKED, ADAPTIVE = 0, -1
"""In place of a width: codes of one length; no tables, but probabilities that are learnt."""
_STATIC = (4, 8, 16, 32, 1 << 20)
WIDTHS = (PACKED, *_STATIC, ADAPTIVE)
"""Sixteenths of an octave that one class may span; the last is one class for all."""
MOST_ADAPTIVE = 1 << 18
"""Weights of the largest tensor whose probabilities are learnt: that takes ten times as long."""

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
        How many of them one class spans; or PACKED or ADAPTIVE.
    low, k : int
        The least integer, and how many follow one another up to the largest.
    scales : uint8 array or None
        The exponents in bytes; None: they stand as they are.
    chunk : int or None
        Coded in chunks of so many weights; None: in one.
    """

    payload: Array
    row_exponents: IntArray
    column_exponents: IntArray
    width: int
    low: int
    k: int
    scales: Array | None
    chunk: int | None = None
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

    @property
    def scale_bytes(self) -> int:
        """What the exponents take in a file."""
        return self.rows + self.columns if self.scales is None else self.scales.size

    def decode(self) -> Array:
        """Labels ``(rows, columns)``; raises `FormatError` where the payload is unsound."""
        if self.width == PACKED:
            return unpack(self.payload, self.size, self.k).reshape(self.rows, self.columns)
        if self.width == ADAPTIVE:
            return self._decode_adaptive()
        tables, words, ends = read_tables(self)
        classes = _classes(self.row_exponents, self.column_exponents, self.width, self.chunk)
        labels = decode_codes(words, ends, classes, tables, code_dtype(self.k))
        if labels is None:
            raise FormatError("codes: the entropy-coded words do not end where the codes do")
        return labels

    def _decode_adaptive(self) -> Array:
        words = read_words(self.payload, self.size, None)[0]
        spread = _spread(self.row_exponents), _spread(self.column_exponents)
        integers = decode_adaptively(words, *spread)
        if integers is None:
            raise FormatError("codes: the entropy-coded words do not end where the codes do")
        labels = integers - np.int32(self.low)
        if not (labels.min() >= 0 and labels.max() < self.k):
            raise FormatError(f"codes: expected {self.low} and the {self.k - 1} integers after it")
        return labels.astype(code_dtype(self.k))

    def counts(self) -> Array:
        """How many weights carry each label, int64 (k,)."""
        if self.width in (PACKED, ADAPTIVE):
            return np.bincount(self.decode().reshape(-1), minlength=self.k)
        return read_tables(self)[0].totals(self.k)

    def check(self) -> None:
        """Raise `FormatError` where the payload cannot be these integers, before it is decoded."""
        if self.width == ADAPTIVE:
            read_words(self.payload, self.size, None)
        elif self.width != PACKED:
            read_tables(self)
        elif self.payload.size != packed_size(self.size, self.k):
            raise FormatError(
                f"codes: expected {packed_size(self.size, self.k)} bytes, got {self.payload.size}"
            )


def _spread(exponents: IntArray) -> IntArray:
    return np.asarray(exponents - exponents.min())


def class_of(rows: IntArray, columns: IntArray, width: int) -> Array:
    """The class of each weight, ``(rows, columns)``; the smallest steps are class 0."""
    return np.asarray((_spread(rows)[:, np.newaxis] + _spread(columns)) // width)


def _classes(rows: IntArray, columns: IntArray, width: int, chunk: int | None) -> CodeClasses:
    shift = width.bit_length() - 1
    return CodeClasses(_spread(rows), _spread(columns), len(columns), shift, chunk)


def encode_integers(integers: Array, rows: IntArray, columns: IntArray) -> EncodedIntegers:
    """The shortest code: among widths of classes, or, of small tensors, with learnt ones."""
    low, high = int(integers.min()), int(integers.max())
    if max(-low, high) >= LARGEST:
        raise TooFineError(f"integers: expected less than {LARGEST}, got {low} to {high}")
    k = high - low + 1
    labels = (integers - low).astype(code_dtype(k))
    chunk = CHUNK if labels.size > CHUNK else None
    payloads = {PACKED: pack(labels, k)}
    if labels.size <= MOST_ADAPTIVE:
        words = encode_adaptively(integers, _spread(rows), _spread(columns))
        payloads[ADAPTIVE] = np.frombuffer(words.astype("<u4").tobytes(), np.uint8)
    else:
        for width in _STATIC:
            payloads[width] = _payload(labels, k, rows, columns, width, chunk)
    width = min(payloads, key=lambda w: payloads[w].size)
    scales = encode_scales(rows, columns)
    used_chunk = chunk if width in _STATIC else None
    return EncodedIntegers(payloads[width], rows, columns, width, low, k, scales, used_chunk)


def _payload(
    labels: Array, k: int, rows: IntArray, columns: IntArray, width: int, chunk: int | None
) -> Array:
    of_weight = class_of(rows, columns, width)
    n_classes = int(of_weight.max()) + 1
    counts = np.bincount((of_weight * k + labels).reshape(-1), minlength=n_classes * k)
    tables = [_used(table) for table in counts.reshape(n_classes, k)]
    classes = _classes(rows, columns, width, chunk)
    words, ends = encode_codes(labels, classes, CodeTables.of(tables))
    head = b"".join(
        varints(np.concatenate([[first, table.size], table])) for first, table in tables
    )
    return np.frombuffer(head + bytes_of_words(words, ends), np.uint8)


def _used(counts: IntArray) -> tuple[int, IntArray]:
    """Where the counts that are not 0 begin, and those from there to the last of them."""
    used = np.flatnonzero(counts)
    if not used.size:
        return 0, counts[:0]
    first, last = int(used[0]), int(used[-1])
    return first, counts[first : last + 1]


def read_tables(encoded: EncodedIntegers) -> tuple[CodeTables, Array, IntArray]:
    """Counts of each class, the words and where those of each chunk end, all of them checked."""
    tables, position = [], 0
    payload = encoded.payload
    for population in _populations(encoded):
        (first, size), used = read_varints(payload[position:], 2)
        position += used
        if first + size > encoded.k:
            raise FormatError(
                f"codes: expected {encoded.k} codes, got a table up to {first + size}"
            )
        counts, used = read_varints(payload[position:], int(size))
        position += used
        total = sum(map(int, counts))
        if total != population:
            raise FormatError(f"codes: expected counts that add up to {population}, got {total}")
        tables.append((int(first), counts))
    words, ends = read_words(payload[position:], encoded.size, encoded.chunk)
    return CodeTables.of(tables), words, ends


def _populations(encoded: EncodedIntegers) -> Iterator[int]:
    """How many integers each class has, from the histograms of rows and columns."""
    rows = encoded.row_exponents - encoded.row_exponents.min()
    columns = encoded.column_exponents - encoded.column_exponents.min()
    sums = np.convolve(np.bincount(rows), np.bincount(columns))
    for start in range(0, len(sums), encoded.width):
        yield int(sums[start : start + encoded.width].sum())
