"""Label rates against closed forms, brute force over prefix codes, and Shannon's inequalities."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from wkmeans import rate

MEASURES = [rate.shannon_bits, rate.huffman_bits, rate.entropy_bits]


def counts_arrays(max_size=40, max_count=10**6):
    """Counts with zeros, ties and powers of two, at least one label in all."""
    count = st.one_of(
        st.integers(0, max_count),
        st.sampled_from([0, 1]),
        st.integers(0, max_count.bit_length() - 1).map(lambda exponent: 2**exponent),
    )
    return (
        st.lists(count, min_size=1, max_size=max_size)
        .filter(any)
        .map(lambda counts: np.array(counts, dtype=np.int64))
    )


def rounding(counts):
    """Room for float64's rounding of an entropy whose terms are each a few ulps off."""
    return 1e-13 * (float(np.sum(counts)) + rate.entropy_bits(counts))


# --- exact values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "shannon", "huffman"),
    [
        ([1, 1], 2, 2),
        ([2, 1, 1], 6, 6),
        ([8, 4, 2, 1, 1], 8 + 8 + 6 + 4 + 4, 30),
        ([3, 1], 3 * 1 + 1 * 2, 4),  # Shannon gives the rare label a bit that no code needs
        ([1, 1, 1], 6, 5),
        ([5, 3, 2], 5 * 1 + 3 * 2 + 2 * 3, 15),
        ([1, 1, 2, 3, 5, 8], 1 * 5 * 2 + 2 * 4 + 3 * 3 + 5 * 2 + 8 * 2, 45),
        ([1] * 16, 64, 64),
    ],
)
def test_small_cases(counts, shannon, huffman):
    assert rate.shannon_bits(counts) == shannon
    assert rate.huffman_bits(counts) == huffman


@pytest.mark.parametrize("counts", [[7], [0, 7, 0], [10**18]])
def test_a_single_used_label_costs_nothing(counts):
    assert [measure(counts) for measure in MEASURES] == [0, 0, 0]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_the_three_agree_exactly_on_dyadic_counts(splits):
    """Halving leaves of a full tree makes every m / m_j a power of two: all three coincide."""
    depths = [0]
    for split in splits:
        depth = depths.pop(split % len(depths))
        depths += [depth + 1, depth + 1]
    counts = [2 ** (31 - depth) for depth in depths]
    expected = sum(count * depth for count, depth in zip(counts, depths, strict=True))
    assert rate.shannon_bits(counts) == expected
    assert rate.huffman_bits(counts) == expected
    assert rate.entropy_bits(counts) == expected


@pytest.mark.parametrize("exponent", [2, 29, 49, 52, 60])
@pytest.mark.parametrize(("excess", "rare_length"), [(-1, 0), (0, 0), (1, 1)])
def test_shannon_lengths_do_not_round_at_powers_of_two(exponent, excess, rare_length):
    """A label met once in m = 2**exponent + excess: its length turns just above the power."""
    total = 2**exponent + excess
    common = total - 1  # more than half of the labels: one bit each
    assert rate.shannon_bits([1, common]) == exponent + rare_length + common


def test_totals_beyond_int64_do_not_wrap():
    counts = np.full(64, 2**62, dtype=np.int64)
    assert rate.shannon_bits(counts) == rate.huffman_bits(counts) == 6 * 64 * 2**62
    assert rate.entropy_bits(counts) == 6 * 64 * 2.0**62


def test_entropy_keeps_its_digits_when_one_label_dominates():
    """m log2(m / (m - 1)) tends to log2(e); the quotient alone keeps four of its digits."""
    total = 10**12
    dominant = (1 - 1 / (2 * total)) / math.log(2)  # (m - 1) ln(m / (m - 1)) = 1 - 1/(2m) - ...
    expected = dominant + math.log2(total)
    assert rate.entropy_bits([total - 1, 1]) == pytest.approx(expected, rel=1e-15)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_huffman_is_the_shortest_prefix_code(counts):
    """By Kraft's inequality, lengths with sum(2**-length) <= 1 are those of the prefix codes."""
    codes = itertools.product(range(len(counts)), repeat=len(counts))
    shortest = min(
        sum(count * length for count, length in zip(counts, lengths, strict=True))
        for lengths in codes
        if sum(Fraction(1, 2**length) for length in lengths) <= 1
    )
    assert rate.huffman_bits(counts) == shortest


# --- inequalities and symmetries --------------------------------------------------------------


@given(counts_arrays())
@example(np.array([1, 0, 1]))
@example(np.array([10**12, 1]))
def test_order_of_the_three_measures(counts):
    entropy, total = rate.entropy_bits(counts), int(counts.sum())
    huffman, shannon = rate.huffman_bits(counts), rate.shannon_bits(counts)
    assert entropy <= huffman + rounding(counts)
    assert huffman <= shannon
    assert shannon < entropy + total + rounding(counts)
    assert (entropy == 0) == (np.count_nonzero(counts) == 1)


@pytest.mark.parametrize("measure", MEASURES)
@given(counts=counts_arrays(), data=st.data())
def test_order_of_the_codebook_and_unused_entries_do_not_matter(measure, counts, data):
    shuffled = data.draw(st.permutations([*counts.tolist(), 0]))
    assert measure(shuffled) == pytest.approx(measure(counts), rel=1e-15)


@pytest.mark.parametrize("measure", MEASURES)
@given(counts=counts_arrays(), times=st.integers(1, 50))
def test_repeating_the_labels_repeats_the_bits(measure, counts, times):
    assert measure(counts * times) == pytest.approx(times * measure(counts), rel=1e-13)


@given(counts_arrays(max_size=8), st.integers(0, 6))
def test_merging_two_labels_never_costs_bits(counts, position):
    assume(len(counts) > 1)
    first = position % (len(counts) - 1)
    merged = np.delete(counts, first)
    merged[first] += counts[first]
    assert rate.huffman_bits(merged) <= rate.huffman_bits(counts)
    assert rate.entropy_bits(merged) <= rate.entropy_bits(counts) + rounding(counts)


# --- compression ratio ------------------------------------------------------------------------


def test_compression_ratio_of_the_paper():
    counts = [50, 25, 25]  # 50 * 1 + 25 * 2 + 25 * 2 = 150 bits of labels
    assert rate.compression_ratio(counts) == 100 * 32 / (150 + 3 * 32)
    assert rate.compression_ratio(counts, bits=16) == 100 * 16 / (150 + 3 * 16)


def test_unused_codebook_entries_are_stored():
    assert rate.compression_ratio([50, 50, 0, 0]) == 100 * 32 / (100 + 4 * 32)


def test_a_constant_tensor_costs_its_codebook_alone():
    assert rate.compression_ratio([1000], bits=32) == 1000.0


@given(counts_arrays(), st.integers(1, 64))
def test_compression_ratio_is_the_formula(counts, bits):
    used = [int(count) for count in counts if count]
    total = sum(used)
    # Lengths by search: the least integer l with m_j 2**l >= m, no logarithm and no bit tricks.
    lengths = [next(n for n in range(80) if count << n >= total) for count in used]
    label_bits = sum(count * length for count, length in zip(used, lengths, strict=True))
    assert rate.compression_ratio(counts, bits) == total * bits / (label_bits + counts.size * bits)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [*MEASURES, rate.compression_ratio])
@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ([], ValueError, "at least one number"),
        ([[1, 2]], ValueError, r"one dimension.*\(1, 2\)"),
        (5, ValueError, "one dimension"),
        ([0, 0], ValueError, "only zeros"),
        ([3, 0, -2, -5], ValueError, "got -2 at index 2"),
        ([1.0, 2.0], TypeError, "integers.*float64"),
        ([True, False], TypeError, "integers.*bool"),
        (["1"], TypeError, "integers"),
    ],
)
def test_bad_counts(function, counts, error, message):
    with pytest.raises(error, match=f"counts: .*{message}"):
        function(counts)


@pytest.mark.parametrize(("bits", "error"), [(0, ValueError), (-8, ValueError), (32.0, TypeError)])
def test_bad_bits(bits, error):
    with pytest.raises(error):
        rate.compression_ratio([1, 2], bits=bits)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
@pytest.mark.parametrize("function", [*MEASURES, rate.compression_ratio])
def test_integer_dtypes_read_only_and_strided(function, dtype):
    counts = np.array([200, 9, 100, 9, 55, 9], dtype=dtype)
    counts.flags.writeable = False
    assert function(counts[::2]) == function([200, 100, 55])
