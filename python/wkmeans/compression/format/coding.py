"""Codes as bytes: bit-packed, or entropy-coded by asymmetric numeral systems.

`docs/format.md` describes both so that another language can read them. No float decides what a
file means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.coding import (
    CodeClasses,
    CodeTables,
    decode_codes,
    encode_codes,
    unpack_codes,
)

MAX_CLASSES = 16
CHUNK = 1 << 16
"""Weights that are coded independently of all others, so that threads can share a tensor."""
LEAST_CHUNK = 1 << 12
"""Shorter ones are refused: a file would consist of little else."""

Classes = tuple[int, int]
"""The axis (0 rows, 1 columns) whose lines are sorted into classes, and how many classes."""


@dataclass(frozen=True, eq=False)
class EncodedCodes:
    """The codes of one tensor, seen as ``(rows, columns)``, in bytes.

    Attributes
    ----------
    payload : uint8 array
    rows, columns, k : int
        Codes are below k.
    coding : {"packed", "ans"}
    classes : (int, int) or None
        ANS with one table of counts for each class of rows or columns; None: one table for all.
    chunk : int or None
        ANS in chunks of so many weights; None: in one.
    """

    payload: Array
    rows: int
    columns: int
    k: int
    coding: str
    classes: Classes | None = None
    chunk: int | None = None

    @property
    def size(self) -> int:
        return self.rows * self.columns

    def decode(self) -> Array:
        """Codes, shape ``(rows, columns)``; raises `FormatError` where the payload is unsound.

        Where columns are sorted into classes, in Fortran order.
        """
        if self.coding == "packed":
            return unpack(self.payload, self.size, self.k).reshape(self.rows, self.columns)
        return _decode_ans(self)

    def counts(self) -> Array:
        """How many weights carry each code, int64 (k,)."""
        if self.coding == "ans":
            return np.asarray(read_counts(self).tables.sum(axis=0))
        return _count(self.decode(), self.k)


def encode(codes: Array, k: int, coding: str = "auto") -> EncodedCodes:
    """Codes ``(rows, columns)``, in the coding asked for or, for "auto", the shortest."""
    rows, columns = codes.shape
    if coding == "packed" or codes.size == 0:
        return EncodedCodes(pack(codes, k), rows, columns, k, "packed")
    entropy_coded = _encode_ans(codes, k, _best_plan(codes, k))
    if coding == "auto" and packed_size(codes.size, k) <= entropy_coded.payload.size:
        return EncodedCodes(pack(codes, k), rows, columns, k, "packed")
    return entropy_coded


def code_dtype(k: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if k <= 256 else np.uint16 if k <= 65536 else np.uint32)


# --- Bit-packed: code i in bits [i b, (i + 1) b), the least significant bit first. ---


def width(k: int) -> int:
    """Bits of one packed code."""
    return max(0, (k - 1).bit_length())


def packed_size(size: int, k: int) -> int:
    return (size * width(k) + 7) // 8


def pack(codes: Array, k: int) -> Array:
    """Codes below k, in order, each in as many bits as k needs."""
    bits = width(k)
    flat = codes.reshape(-1)  # chunks of a multiple of eight codes start on whole bytes
    payload = np.zeros(packed_size(flat.size, k), np.uint8)
    shifts = np.arange(bits, dtype=np.uint32)
    for start in range(0, flat.size, CHUNK) if bits else ():
        chunk = flat[start : start + CHUNK].astype(np.uint32)
        packed = np.packbits((chunk[:, np.newaxis] >> shifts) & 1, bitorder="little")
        payload[start * bits // 8 :][: packed.size] = packed
    return payload


def unpack(payload: Array, size: int, k: int) -> Array:
    """What `pack` wrote."""
    bits = width(k)
    if not bits:
        return np.broadcast_to(np.zeros((), code_dtype(k)), (size,))
    codes = unpack_codes(payload, size, bits, k, code_dtype(k))
    if codes is None:
        raise FormatError(f"codes: expected values below {k}")
    return codes


# --- ANS: tables of counts, then classes of lines, then 32-bit words. ---


@dataclass(frozen=True)
class _Plan:
    """Which table each line uses."""

    classes: Classes | None
    of_line: Array  # class of each line; one line, the whole tensor, without classes

    @property
    def n_classes(self) -> int:
        return self.classes[1] if self.classes else 1

    def lines(self, codes: Array) -> Array:
        """The message: lines by class, those of one class in order."""
        if self.classes is None:
            return codes
        lines = codes if self.classes[0] == 0 else codes.T
        return np.asarray(lines[np.argsort(self.of_line, kind="stable")])


def _best_plan(codes: Array, k: int) -> _Plan:
    """One table for all, or tables by rows or columns where they pay for themselves."""
    best = _Plan(None, np.zeros(1, np.uint8))
    if k > 256 or codes.size < 4096:
        return best
    least = _length(_count(codes, k)[np.newaxis], 0)
    for axis, lines in enumerate((codes, codes.T)):
        if not 2 <= len(lines) <= 65536:
            continue
        histograms = _histograms(lines, k)
        for n_classes in (2, 4, 8, 16):
            if n_classes > len(lines):
                break
            of_line = _classify(histograms, n_classes)
            tables = np.stack([histograms[of_line == i].sum(axis=0) for i in range(n_classes)])
            length = _length(tables, packed_size(len(lines), n_classes))
            if length < least:
                least, best = length, _Plan((axis, n_classes), of_line)
    return best


def _length(tables: Array, extra_bytes: int) -> float:
    """Bits that tables of counts, what else a decoder needs, and the codes take."""
    return _bits(tables) + 8 * (extra_bytes + sum(len(varints(table)) for table in tables))


def _count(codes: Array, k: int) -> Array:
    flat = codes.reshape(-1)
    counts = np.zeros(k, np.int64)
    for start in range(0, flat.size, CHUNK):  # bincount copies to int64
        counts += np.bincount(flat[start : start + CHUNK], minlength=k)
    return counts


def _histograms(lines: Array, k: int) -> Array:
    histograms = np.empty((len(lines), k), np.int64)
    for row, line in zip(histograms, lines, strict=True):
        row[:] = np.bincount(line, minlength=k)
    return histograms


def _classify(histograms: Array, n_classes: int, rounds: int = 8) -> Array:
    """Lines in classes of similar statistics: k-means under the code length of each line."""
    lengths = (histograms * _code_lengths(histograms.sum(axis=0))).sum(axis=1)
    per_code = lengths / np.maximum(histograms.sum(axis=1), 1)
    order = np.argsort(per_code, kind="stable")
    of_line = np.empty(len(histograms), np.uint8)
    of_line[order] = np.arange(len(order)) * n_classes // len(order)
    for _ in range(rounds):
        tables = np.stack([histograms[of_line == i].sum(axis=0) for i in range(n_classes)])
        nearest = (histograms @ _code_lengths(tables).T).argmin(axis=1).astype(np.uint8)
        if np.array_equal(nearest, of_line):
            break
        of_line = nearest
    return of_line


def _code_lengths(counts: Array) -> Array:
    smoothed = counts + 0.5
    return np.asarray(np.log2(smoothed.sum(axis=-1, keepdims=True) / smoothed))


def _bits(tables: Array) -> float:
    totals = tables.sum(axis=-1, keepdims=True)
    safe = np.where(tables > 0, tables, 1)
    return float((tables * np.log2(np.maximum(totals, 1) / safe)).sum())


def _encode_ans(codes: Array, k: int, plan: _Plan) -> EncodedCodes:
    rows, columns = codes.shape
    lines = plan.lines(codes)
    of_line = np.sort(plan.of_line) if plan.classes else np.zeros(rows, np.uint8)
    tables = [_count(lines[of_line == index], k) for index in range(plan.n_classes)]
    chunk = CHUNK if codes.size > CHUNK else None
    words, ends = encode_codes(
        lines,
        CodeClasses(of_line, None, lines.shape[1], 0, chunk),
        CodeTables.of([(0, table) for table in tables]),
    )
    head = b"".join(varints(table) for table in tables)
    if plan.classes is not None:
        head += pack(plan.of_line, plan.classes[1]).tobytes()
    payload = np.frombuffer(head + bytes_of_words(words, ends), np.uint8)
    return EncodedCodes(payload, rows, columns, k, "ans", plan.classes, chunk)


def _decode_ans(encoded: EncodedCodes) -> Array:
    found = read_counts(encoded)
    axis = encoded.classes[0] if encoded.classes else 0
    size = encoded.rows if axis else encoded.columns
    lines = decode_codes(
        found.words,
        found.ends,
        CodeClasses(np.sort(found.of_line), None, size, 0, encoded.chunk),
        CodeTables.of([(0, table) for table in found.tables]),
        code_dtype(encoded.k),
    )
    if lines is None:
        raise FormatError("codes: the entropy-coded words do not end where the codes do")
    if encoded.classes is None:
        return lines
    in_order = np.empty_like(lines)
    in_order[np.argsort(found.of_line, kind="stable")] = lines
    return in_order.T if axis else in_order


@dataclass(frozen=True)
class Counts:
    """What the payload of entropy-coded codes holds, all of it checked.

    Attributes
    ----------
    tables : int64 array (classes, k)
        Counts.
    of_line : uint8 array (lines,)
        The class of each row, or column where those are sorted into classes.
    words : uint32 array
    ends : int64 array (chunks,)
        Where the words of each chunk end.
    """

    tables: Array
    of_line: Array
    words: Array
    ends: Array


def read_counts(encoded: EncodedCodes) -> Counts:
    """The parts of the payload; raises `FormatError` where they do not fit one another."""
    n_classes = encoded.classes[1] if encoded.classes else 1
    tables, position = read_varints(encoded.payload, n_classes * encoded.k)
    tables = tables.reshape(n_classes, encoded.k)
    of_line, line_size = np.zeros(encoded.rows, np.uint8), encoded.columns
    if encoded.classes is not None:
        n_lines = encoded.columns if encoded.classes[0] else encoded.rows
        line_size = encoded.size // max(n_lines, 1)
        end = position + packed_size(n_lines, n_classes)
        if end > encoded.payload.size:
            raise FormatError("codes: the payload ends within the classes of lines")
        of_line = unpack(encoded.payload[position:end], n_lines, n_classes)
        position = end
    expected = np.bincount(of_line, minlength=n_classes) * line_size
    totals = [sum(map(int, table)) for table in tables]
    if totals != expected.tolist():
        raise FormatError(
            f"codes: expected counts that add up to {expected.tolist()}, got {totals}"
        )
    words, ends = read_words(encoded.payload[position:], encoded.size, encoded.chunk)
    return Counts(tables, of_line, words, ends)


def bytes_of_words(words: Array, ends: Array) -> bytes:
    """How many words each chunk but the last has, and the words."""
    return varints(np.diff(ends[:-1], prepend=0)) + words.astype("<u4").tobytes()


def read_words(payload: Array, size: int, chunk: int | None) -> tuple[Array, Array]:
    """Words of so many weights, and where those of each chunk end."""
    n_chunks = 1 if chunk is None else -(-size // chunk)
    lengths, position = read_varints(payload, n_chunks - 1)
    if (payload.size - position) % 4:
        raise FormatError("codes: the payload does not end in whole 32-bit words")
    words = np.frombuffer(payload[position:].tobytes(), "<u4").astype(np.uint32)
    ends = np.append(np.cumsum(lengths, dtype=np.int64), words.size)
    if not (np.diff(ends) >= 0).all():
        raise FormatError(f"codes: expected {ends[-2]} words before the last chunk's, got less")
    return words, ends


def varints(counts: Array) -> bytes:
    """Seven bits a byte, least significant first; the eighth says that more follow (LEB128)."""
    out = bytearray()
    for count in counts.tolist():
        while count > 127:
            out.append(count & 127 | 128)
            count >>= 7
        out.append(count)
    return bytes(out)


def read_varints(payload: Array, number: int) -> tuple[Array, int]:
    """So many numbers that `varints` wrote, and how many bytes they take."""
    if number > payload.size:
        raise FormatError(f"codes: expected {number} counts in {payload.size} bytes")
    data = payload[: 9 * number].tobytes()
    values = np.zeros(number, np.int64)
    position = 0
    for index in range(number):
        value = shift = 0
        while True:
            if position >= len(data) or shift > 35:
                raise FormatError("codes: a count is cut off or too large")
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        values[index] = value
    return values, position
