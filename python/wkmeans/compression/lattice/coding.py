"""Integers as bytes: static tables for each class of expected spread, or learnt probabilities.

A row's and a column's scale say how large the integers there will be: the sum of their exponents
sorts every integer into a class, for which nothing needs to be stored. On a trellis the integers
above say whether one is even or odd: each class has a table for either, and codes are halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

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
from wkmeans.compression.lattice.trellis import chunk_of, trellis_order

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
        Coded in chunks of so many weights; None: in one, or on a trellis.
    block : int or None
        Integers follow a trellis down each column, anew every so many rows; None: they are free.
        `low` and `k` are even then.
    """

    payload: Array
    row_exponents: IntArray
    column_exponents: IntArray
    width: int
    low: int
    k: int
    scales: Array | None
    chunk: int | None = None
    block: int | None = None
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
    def coded_chunk(self) -> int | None:
        """Weights of a chunk, on a trellis or not."""
        if self.block is None:
            return self.chunk
        return chunk_of(self.block, self.rows, self.columns)

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
        rows, columns = self.row_exponents[self._order], self.column_exponents
        classes = _classes(rows, columns, self.width, self.coded_chunk, self.block, self.low)
        labels = decode_codes(words, ends, classes, tables, code_dtype(self.k))
        if labels is None:
            raise FormatError("codes: the entropy-coded words do not end where the codes do")
        return self._restored(labels)

    def _decode_adaptive(self) -> Array:
        words = read_words(self.payload, self.size, None)[0]
        rows = self.row_exponents[self._order]
        spread = _spread(rows), _spread(self.column_exponents)
        integers = decode_adaptively(words, *spread, self.block)
        if integers is None:
            raise FormatError("codes: the entropy-coded words do not end where the codes do")
        labels = integers - np.int32(self.low)
        if not (labels.min() >= 0 and labels.max() < self.k):
            raise FormatError(f"codes: expected {self.low} and the {self.k - 1} integers after it")
        return self._restored(labels.astype(code_dtype(self.k)))

    @cached_property
    def _order(self) -> IntArray | slice:
        """Rows as they are coded."""
        if self.block is None:
            return slice(None)
        return trellis_order(self.row_exponents, self.block)

    def _restored(self, coded: Array) -> Array:
        if self.block is None:
            return coded
        labels = np.empty_like(coded)
        labels[self._order] = coded
        return labels

    def counts(self) -> Array:
        """How many weights carry each label, int64 (k,)."""
        if self.width in (PACKED, ADAPTIVE):
            return np.bincount(self.decode().reshape(-1), minlength=self.k)
        tables = read_tables(self)[0]
        if self.block is None:
            return tables.totals(self.k)
        halves = [tables.every(2, parity).totals(self.k // 2) for parity in (0, 1)]
        return np.stack(halves, axis=1).reshape(-1)

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


def _classes(
    rows: IntArray, columns: IntArray, width: int, chunk: int | None, block: int | None, low: int
) -> CodeClasses:
    shift = width.bit_length() - 1
    return CodeClasses(_spread(rows), _spread(columns), len(columns), shift, chunk, block, low)


def encode_integers(
    integers: Array, rows: IntArray, columns: IntArray, block: int | None = None
) -> EncodedIntegers:
    """The shortest code: among widths of classes, or, of small tensors, with learnt ones.

    With `block`, integers follow a trellis in the order of `trellis_order`.
    """
    low, high = int(integers.min()), int(integers.max())
    if max(-low, high) >= LARGEST:
        raise TooFineError(f"integers: expected less than {LARGEST}, got {low} to {high}")
    if low == high:
        block = None  # one integer everywhere takes no bytes
    coded, coded_rows = integers, rows
    chunk = CHUNK if integers.size > CHUNK else None
    if block is not None:
        order = trellis_order(rows, block)
        coded, coded_rows = integers[order], rows[order]
        chunk = chunk_of(block, *integers.shape)
        low, high = low - low % 2, high | 1
    k = high - low + 1
    labels = (coded - low).astype(code_dtype(k))
    payloads = {PACKED: pack(labels, k)} if block is None else {}
    if labels.size <= MOST_ADAPTIVE:
        payloads[ADAPTIVE] = _learnt(coded, coded_rows, columns, block)
    else:
        for width in _STATIC:
            classes = _classes(coded_rows, columns, width, chunk, block, low)
            payloads[width] = _payload(labels, k, class_of(coded_rows, columns, width), classes)
    width = min(payloads, key=lambda w: payloads[w].size)
    if block is not None or width not in _STATIC:
        chunk = None
    scales = encode_scales(rows, columns)
    return EncodedIntegers(payloads[width], rows, columns, width, low, k, scales, chunk, block)


def _learnt(integers: Array, rows: IntArray, columns: IntArray, block: int | None) -> Array:
    words = encode_adaptively(integers, _spread(rows), _spread(columns), block)
    return np.frombuffer(words.astype("<u4").tobytes(), np.uint8)


def _payload(labels: Array, k: int, of_weight: Array, classes: CodeClasses) -> Array:
    codes, tables_of_class = labels, 1
    if classes.block is not None:
        of_weight = 2 * of_weight + labels % 2
        codes, k, tables_of_class = labels // 2, k // 2, 2
    n_tables = (int(of_weight.max()) // tables_of_class + 1) * tables_of_class
    counts = np.bincount((of_weight * k + codes).reshape(-1), minlength=n_tables * k)
    tables = [_used(table) for table in counts.reshape(n_tables, k)]
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
    parities = 1 if encoded.block is None else 2
    k = encoded.k // parities
    for population in _populations(encoded):
        total = 0
        for _ in range(parities):
            (first, size), used = read_varints(payload[position:], 2)
            position += used
            if first + size > k:
                raise FormatError(f"codes: expected {k} codes, got a table up to {first + size}")
            counts, used = read_varints(payload[position:], int(size))
            position += used
            total += sum(map(int, counts))
            tables.append((int(first), counts))
        if total != population:
            raise FormatError(f"codes: expected counts that add up to {population}, got {total}")
    words, ends = read_words(payload[position:], encoded.size, encoded.coded_chunk)
    return CodeTables.of(tables), words, ends


def _populations(encoded: EncodedIntegers) -> Iterator[int]:
    """How many integers each class has, from the histograms of rows and columns."""
    rows = encoded.row_exponents - encoded.row_exponents.min()
    columns = encoded.column_exponents - encoded.column_exponents.min()
    sums = np.convolve(np.bincount(rows), np.bincount(columns))
    for start in range(0, len(sums), encoded.width):
        yield int(sums[start : start + encoded.width].sum())
