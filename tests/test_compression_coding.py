"""Codes as bytes: what goes in comes out, in the length promised, as docs/format.md says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkmeans._files.errors import FormatError
from wkmeans.compression.format.coding import encode, frequencies, packed_size, read_counts
from wkmeans.rate import entropy_bits

pytest.importorskip("constriction", reason="needs the extra: pip install 'wkmeans[compress]'")


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


@given(st.lists(st.integers(1, 2**30), min_size=1, max_size=300))
def test_frequencies_are_positive_and_add_up(counts):
    found = frequencies(np.array(counts))
    assert found.min() >= 1 and found.sum() == 1 << 24


@pytest.mark.parametrize("k", [2, 16, 200])
def test_entropy_coding_meets_the_entropy(k):
    rng = np.random.default_rng(k)
    codes = rng.binomial(k - 1, 0.3, (1000, 1000)).astype(np.uint8)
    encoded = encode(codes, k, "ans")
    table = 3 * k
    assert encoded.payload.size <= entropy_bits(encoded.counts()) / 8 + table + 16


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_of_their_own_statistics_pay(axis):
    rng = np.random.default_rng(1)
    codes = rng.binomial(15, rng.choice([0.05, 0.5, 0.95], (300, 1)), (300, 300)).astype(np.uint8)
    encoded = encode(codes if axis == 0 else codes.T, 16)
    assert encoded.classes is not None and encoded.classes[0] == axis
    assert encoded.payload.size < 0.8 * entropy_bits(encoded.counts()) / 8
    np.testing.assert_array_equal(encoded.decode(), codes if axis == 0 else codes.T)


def decoded_as_documented(encoded):
    """ANS in whole numbers, from docs/format.md alone; no classes."""
    (counts,), _, array = read_counts(encoded)
    used = np.flatnonzero(counts)
    words = array.tolist()
    n, m, before = int(counts.sum()), used.size, 0
    bounds = [0]
    for j, count in enumerate(counts[used].tolist()):
        before += count
        bounds.append(before * (2**24 - m) // n + j + 1)
    state = 0
    while words and state < 2**32:
        state = state << 32 | words.pop()
    codes = []
    for _ in range(n):
        quantile = state % 2**24
        j = next(j for j in range(m) if quantile < bounds[j + 1])
        codes.append(int(used[j]))
        state = (state >> 24) * (bounds[j + 1] - bounds[j]) + quantile - bounds[j]
        if state < 2**32 and words:
            state = state << 32 | words.pop()
    assert state == 0 and not words
    return codes


@pytest.mark.parametrize("k", [2, 7, 300])
def test_another_decoder_reads_the_words(k):
    rng = np.random.default_rng(k)
    codes = np.minimum(rng.geometric(3 / (k + 2), (30, 40)) - 1, k - 1).astype(np.uint16)
    encoded = encode(codes, k, "ans")
    assert encoded.classes is None
    assert decoded_as_documented(encoded) == codes.ravel().tolist()


def test_words_that_say_more_or_less_are_refused():
    from dataclasses import replace

    codes = np.arange(4000, dtype=np.uint8).reshape(40, 100) % 7
    encoded = encode(codes, 7, "ans")
    for payload in (encoded.payload[:-4], np.append(encoded.payload, [9, 9, 9, 9]).astype("u1")):
        with pytest.raises(FormatError):
            replace(encoded, payload=payload).decode()
    with pytest.raises(FormatError, match="add up to"):
        read_counts(replace(encoded, rows=41))
