"""Codes as bytes: what goes in comes out, in the length promised, as docs/format.md says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkmeans._files.errors import FormatError
from wkmeans._kernels.coding import CodeClasses, CodeTables, decode_codes, encode_codes
from wkmeans.compression.format.coding import (
    CHUNK,
    EncodedCodes,
    encode,
    packed_size,
    read_counts,
    read_varints,
)
from wkmeans.rate import entropy_bits


@st.composite
def coded(draw):
    """Codes whose rows and columns differ in their statistics, all of one kind at times."""
    shape = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    k = draw(st.sampled_from([1, 2, 3, 5, 16, 255, 256, 257, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1.0, 4.0, 40.0]))
    by_row = rng.random((shape[0], 1)) if draw(st.booleans()) else 1.0
    by_column = rng.random((1, shape[1])) if draw(st.booleans()) else 1.0
    codes = (k * rng.random(shape) ** spread * by_row * by_column).astype(np.int64)
    return np.minimum(codes, k - 1).astype(np.uint8 if k <= 256 else np.uint16), k


@given(coded(), st.sampled_from(["auto", "packed", "ans"]))
def test_round_trip(case, coding):
    codes, k = case
    encoded = encode(codes, k, coding)
    np.testing.assert_array_equal(encoded.decode(), codes)
    np.testing.assert_array_equal(encoded.counts(), np.bincount(codes.ravel(), minlength=k))
    assert encoded.payload.size <= packed_size(codes.size, k) or coding == "ans"


@pytest.mark.parametrize("k", [2, 16, 200])
def test_entropy_coding_meets_the_entropy(k):
    rng = np.random.default_rng(k)
    codes = rng.binomial(k - 1, 0.3, (1000, 1000)).astype(np.uint8)
    encoded = encode(codes, k, "ans")
    table, chunks = 3 * k, -(-codes.size // CHUNK)
    assert encoded.payload.size <= entropy_bits(encoded.counts()) / 8 + table + 12 * chunks


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_of_their_own_statistics_pay(axis):
    rng = np.random.default_rng(1)
    codes = rng.binomial(15, rng.choice([0.05, 0.5, 0.95], (300, 1)), (300, 300)).astype(np.uint8)
    encoded = encode(codes if axis == 0 else codes.T, 16)
    assert encoded.classes is not None and encoded.classes[0] == axis
    assert encoded.payload.size < 0.8 * entropy_bits(encoded.counts()) / 8
    np.testing.assert_array_equal(encoded.decode(), codes if axis == 0 else codes.T)


def bounds_of(counts):
    """F_j of docs/format.md, in whole numbers."""
    m, n, before, bounds = len(counts), sum(counts), 0, [0]
    for j, count in enumerate(counts):
        before += count
        bounds.append(before * (2**24 - m) // n + j + 1)
    return bounds


def decoded_as_documented(encoded):
    """ANS in whole numbers, from docs/format.md alone; no classes."""
    found = read_counts(encoded)
    counts = found.tables[0]
    used = np.flatnonzero(counts)
    bounds = bounds_of(counts[used].tolist())
    codes = []
    chunk = encoded.chunk or encoded.size
    for start, end in zip([0, *found.ends.tolist()], found.ends.tolist(), strict=False):
        words = found.words[start:end].tolist()
        state = 0
        while words and state < 2**32:
            state = state << 32 | words.pop()
        for _ in range(min(chunk, encoded.size - len(codes))):
            quantile = state % 2**24
            j = next(j for j in range(used.size) if quantile < bounds[j + 1])
            codes.append(int(used[j]))
            state = (state >> 24) * (bounds[j + 1] - bounds[j]) + quantile - bounds[j]
            if state < 2**32 and words:
                state = state << 32 | words.pop()
        assert state == 0 and not words
    return codes


@pytest.mark.parametrize(
    ("k", "shape"), [(2, (30, 40)), (7, (30, 40)), (300, (30, 40)), (1, (9, 9))]
)
def test_another_decoder_reads_the_words(k, shape):
    rng = np.random.default_rng(k)
    codes = np.minimum(rng.geometric(3 / (k + 2), shape) - 1, k - 1).astype(np.uint16)
    encoded = encode(codes, k, "ans")
    assert encoded.classes is None
    assert decoded_as_documented(encoded) == codes.ravel().tolist()


def test_another_decoder_reads_chunks():
    codes = np.random.default_rng(1).binomial(3, 0.2, (70, 1000)).astype(np.uint8)
    encoded = encode(codes, 4, "ans")
    assert encoded.chunk == CHUNK < codes.size
    assert decoded_as_documented(encoded) == codes.ravel().tolist()


def test_words_are_those_of_constriction():
    constriction = pytest.importorskip("constriction", reason="the coder that the format names")
    codes = np.random.default_rng(2).binomial(4, 0.3, (40, 50)).astype(np.uint8)
    counts = np.bincount(codes.ravel(), minlength=5)
    assert counts.all()
    classes = CodeClasses(np.zeros(40), None, 50, 0, None)
    words, _ = encode_codes(codes, classes, CodeTables.of([(0, counts)]))
    # It gives every symbol one unit, and shares out the rest in proportion to what it is told.
    shares = (np.diff(bounds_of(counts.tolist())) - 1).astype(np.float32)
    model = constriction.stream.model.Categorical(shares, perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(codes.ravel().astype(np.int32), model)
    np.testing.assert_array_equal(words, coder.get_compressed())


@pytest.mark.parametrize("k", [5, 300])
@pytest.mark.parametrize("by_column", [False, True])
def test_threads_change_no_bit(monkeypatch, k, by_column):
    rng = np.random.default_rng(3)
    codes = rng.binomial(k - 1, 0.1, (300, 500)).astype(np.uint8 if k < 256 else np.uint16)
    of_row, of_column = rng.integers(0, 3, 300), rng.integers(0, 5, 500) if by_column else None
    tables = CodeTables.of([(0, np.bincount(codes.ravel(), minlength=k) + 1)] * 8)
    classes = CodeClasses(of_row, of_column, 500, 0, CHUNK)
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("WKMEANS_NUM_THREADS", threads)
        words, ends = encode_codes(codes, classes, tables)
        found.append((words.tobytes(), ends.tobytes()))
        decoded = decode_codes(words, ends, classes, tables, codes.dtype)
        np.testing.assert_array_equal(decoded, codes)
    assert len(set(found)) == 1 and len(ends) == 3


@given(
    st.binary(max_size=400),
    st.sampled_from([1, 2, 16, 300]),
    st.sampled_from([None, (0, 2), (1, 3)]),
    st.sampled_from([None, 4096]),
    st.sampled_from([(1, 1), (7, 9), (90, 100)]),
)
def test_any_bytes_decode_or_are_refused(data, k, classes, chunk, shape):
    encoded = EncodedCodes(np.frombuffer(data, np.uint8), *shape, k, "ans", classes, chunk)
    try:
        codes = encoded.decode()
    except FormatError:
        return
    assert codes.shape == shape and codes.max() < k


@given(st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_sound_counts_do_not_make_words_sound(words):
    codes = np.random.default_rng(8).binomial(6, 0.3, (30, 200)).astype(np.uint8)
    good = encode(codes, 7, "ans")
    head = good.payload[: read_varints(good.payload, 7)[1]]
    data = np.array(words, "<u4").view(np.uint8)
    encoded = EncodedCodes(np.concatenate([head, data]), 30, 200, 7, "ans")
    if not words:  # those of 6000 times the first code
        assert not encoded.decode().any()
        return
    with pytest.raises(FormatError, match="do not end where the codes do"):
        encoded.decode()


def test_words_that_say_more_or_less_are_refused():
    from dataclasses import replace

    codes = np.arange(70000, dtype=np.uint8).reshape(70, 1000) % 7
    encoded = encode(codes, 7, "ans")
    for payload in (encoded.payload[:-4], np.append(encoded.payload, [9, 9, 9, 9]).astype("u1")):
        with pytest.raises(FormatError):
            replace(encoded, payload=payload).decode()
    with pytest.raises(FormatError, match="add up to"):
        read_counts(replace(encoded, rows=71))
    with pytest.raises(FormatError):
        replace(encoded, chunk=4096).decode()
    position = read_varints(encoded.payload, 7)[1]
    payload = encoded.payload.copy()
    payload[position : position + 2] = 255, 127  # more words than there are
    with pytest.raises(FormatError, match="before the last chunk"):
        replace(encoded, payload=payload).decode()


@pytest.mark.parametrize("k", [3, 16, 17, 256, 1000, 65536])
def test_packed_codes_come_back(k):
    codes = np.random.default_rng(k).integers(0, k, (270, 301)).astype(np.uint16)
    encoded = encode(codes, k, "packed")
    np.testing.assert_array_equal(encoded.decode(), codes)
    if k & (k - 1):
        spoilt = EncodedCodes(np.full_like(encoded.payload, 255), 270, 301, k, "packed")
        with pytest.raises(FormatError, match=f"below {k}"):
            spoilt.decode()
