"""Codes as bytes: bit-packed, or entropy-coded by asymmetric numeral systems.

`docs/format.md` describes both so that another language can read them. ANS is the coder of the
package constriction; the frequencies handed to it are whole numbers that add up to 2^24 exactly,
so no float decides what a file means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array

PRECISION = 24
"""Frequencies of a model add up to 2^24."""
MAX_CLASSES = 16

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
    """

    payload: Array
    rows: int
    columns: int
    k: int
    coding: str
    classes: Classes | None = None

    @property
    def size(self) -> int:
        return self.rows * self.columns

    def decode(self) -> Array:
        """Codes, shape ``(rows, columns)``; raises `FormatError` where the payload is unsound."""
        if self.coding == "packed":
            return unpack(self.payload, self.size, self.k).reshape(self.rows, self.columns)
        return _decode_ans(self)

    def counts(self) -> Array:
        """How many weights carry each code, int64 (k,)."""
        if self.coding == "ans":
            tables: Array = read_counts(self)[0]
            return np.asarray(tables.sum(axis=0))
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


_CHUNK = 1 << 16  # codes; a multiple of eight, so every chunk starts on a whole byte


def pack(codes: Array, k: int) -> Array:
    """Codes below k, in order, each in as many bits as k needs."""
    bits = width(k)
    flat = codes.reshape(-1)
    payload = np.zeros(packed_size(flat.size, k), np.uint8)
    shifts = np.arange(bits, dtype=np.uint32)
    for start in range(0, flat.size, _CHUNK) if bits else ():
        chunk = flat[start : start + _CHUNK].astype(np.uint32)
        packed = np.packbits((chunk[:, np.newaxis] >> shifts) & 1, bitorder="little")
        payload[start * bits // 8 :][: packed.size] = packed
    return payload


def unpack(payload: Array, size: int, k: int) -> Array:
    """What `pack` wrote."""
    bits = width(k)
    if not bits:
        return np.broadcast_to(np.zeros((), code_dtype(k)), (size,))
    codes = np.empty(size, code_dtype(k))
    shifts = np.arange(bits, dtype=np.uint32)
    for start in range(0, size, _CHUNK):
        count = min(_CHUNK, size - start)
        chunk = payload[start * bits // 8 : ((start + count) * bits + 7) // 8]
        unpacked = np.unpackbits(chunk, count=count * bits, bitorder="little")
        values = (unpacked.reshape(-1, bits).astype(np.uint32) << shifts).sum(axis=1)
        codes[start : start + count] = values
        if values.max(initial=0) >= k:
            raise FormatError(f"codes: expected values below {k}, got {values.max()}")
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

    def part(self, codes: Array, index: int) -> Array:
        """The codes of one class in C order (by columns: of the transpose)."""
        if self.classes is None:
            return codes.reshape(-1)
        lines = codes if self.classes[0] == 0 else codes.T
        part: Array = lines[self.of_line == index].reshape(-1)
        return part


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
    for start in range(0, flat.size, _CHUNK):  # bincount copies to int64
        counts += np.bincount(flat[start : start + _CHUNK], minlength=k)
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
    coder = constriction().stream.stack.AnsCoder()
    tables = []
    for index in reversed(range(plan.n_classes)):  # last in, first out
        part = plan.part(codes, index)
        counts = _count(part, k)
        tables.append(counts)
        used = np.flatnonzero(counts)
        if used.size > 1:
            ranks = np.cumsum(counts > 0, dtype=np.int32) - 1
            model = model_of(counts[used])
            for start in reversed(range(0, part.size, _CHUNK)):
                coder.encode_reverse(ranks[part[start : start + _CHUNK]], model)
    words = coder.get_compressed().astype("<u4")
    head = b"".join(varints(table) for table in reversed(tables))
    if plan.classes is not None:
        head += pack(plan.of_line, plan.classes[1]).tobytes()
    payload = np.frombuffer(head + words.tobytes(), np.uint8)
    rows, columns = codes.shape
    return EncodedCodes(payload, rows, columns, k, "ans", plan.classes)


def _decode_ans(encoded: EncodedCodes) -> Array:
    tables, of_line, words = read_counts(encoded)
    try:
        coder = constriction().stream.stack.AnsCoder(words)
    except ValueError as error:
        raise FormatError(f"codes: {error}") from None
    codes = np.empty((encoded.rows, encoded.columns), code_dtype(encoded.k))
    axis = encoded.classes[0] if encoded.classes else 0
    lines = codes.T if axis else codes
    for index, counts in enumerate(tables):
        used = np.flatnonzero(counts)
        total = int(counts.sum())
        if used.size == 1:
            part = np.full(total, used[0], codes.dtype)
        elif used.size:
            model, symbols = model_of(counts[used]), used.astype(codes.dtype)
            part = np.empty(total, codes.dtype)
            for start in range(0, total, _CHUNK):
                ranks = coder.decode(model, min(_CHUNK, total - start))
                part[start : start + _CHUNK] = symbols[ranks]
        else:
            continue
        if encoded.classes is None:
            codes.reshape(-1)[:] = part
        else:
            chosen = of_line == index
            lines[chosen] = part.reshape(-1, lines.shape[1])
    if not coder.is_empty():
        raise FormatError("codes: the entropy-coded words do not end where the codes do")
    return codes


def read_counts(encoded: EncodedCodes) -> tuple[Array, Array, Array]:
    """Tables of counts (classes, k), the class of each line, and the words, all of them checked."""
    n_classes = encoded.classes[1] if encoded.classes else 1
    tables, position = read_varints(encoded.payload, n_classes * encoded.k)
    tables = tables.reshape(n_classes, encoded.k)
    of_line = np.zeros(1, np.uint8)
    line_size, n_lines = encoded.size, 1
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
    if (encoded.payload.size - position) % 4:
        raise FormatError("codes: the payload does not end in whole 32-bit words")
    words = np.frombuffer(encoded.payload[position:].tobytes(), "<u4").astype(np.uint32)
    return tables, of_line, words


def frequencies(counts: Array) -> Array:
    """Whole frequencies, in proportion to positive `counts`, that add up to 2^24.

    ``F_j = floor(C_j (2^24 - m) / n) + j`` where ``C_j`` sums the counts before j of m, n all of
    them; the frequency is ``F_(j+1) - F_j``, at least 1.
    """
    before = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    free = (1 << PRECISION) - counts.size
    bounds = before * free // before[-1] + np.arange(counts.size + 1)
    return np.diff(bounds)


def model_of(counts: Array) -> Any:
    """The static model of positive counts, whose frequencies are `frequencies`."""
    # constriction gives every symbol one unit and shares out the rest in proportion to what it is
    # told; whole numbers below 2^24 that add up to the rest come out as they went in.
    shares = (frequencies(counts) - 1).astype(np.float32)
    return constriction().stream.model.Categorical(shares, perfect=False)


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


def constriction() -> Any:
    """The package of that name."""
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "entropy coding needs constriction: pip install 'wkmeans[compress]'"
        ) from error
    return constriction
