"""How many bits the labels of a clustering cost, and the compression ratio that follows.

Every function takes ``counts``: how many weights carry each label, one number for each centroid, as
``np.bincount(labels.ravel(), minlength=k)`` gives it. Unused centroids (zero counts) need no
codeword.

The three measures of the labels are ordered, and the gap is less than one bit a label::

    entropy_bits <= huffman_bits <= shannon_bits < entropy_bits + counts.sum()

Bits are those of the labels alone: the codebook is counted by `compression_ratio`, and the table
of codeword lengths that a decoder also needs is counted nowhere, as in the paper.
"""

from __future__ import annotations

import heapq
import math
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from wkmeans._kernels.checks import checked_integer
from wkmeans._kernels.plain import check_plain_array

__all__ = ["compression_ratio", "entropy_bits", "huffman_bits", "shannon_bits"]


def shannon_bits(counts: ArrayLike) -> int:
    """Total bits of the labels under Shannon's codeword lengths, ``ceil(log2(m / m_j))``.

    These are the lengths in the compression ratio of Gao et al. 2019, section 5.3, which calls
    them Huffman's; Huffman's code proper (`huffman_bits`) is never longer.

    Parameters
    ----------
    counts : integer array, shape (k,)
        Number of labels ``m_j`` for each centroid; ``m`` is their sum.

    Returns
    -------
    int
        ``sum_j m_j * ceil(log2(m / m_j))`` in integer arithmetic: exact at powers of two and
        beyond 2**53. Where one centroid has every label it is 0.

    Raises
    ------
    TypeError
        If ``counts`` is not of an integer dtype.
    ValueError
        If ``counts`` is empty, not one-dimensional, negative somewhere or zero everywhere.

    Notes
    -----
    O(k) time.
    """
    used = _used_counts(counts)
    total = sum(used)
    return sum(count * _shannon_length(count, total) for count in used)


def huffman_bits(counts: ArrayLike) -> int:
    """Total bits of the labels under a Huffman code, the shortest of all prefix codes.

    Parameters
    ----------
    counts : integer array, shape (k,)
        Number of labels for each centroid.

    Returns
    -------
    int
        Total length of the coded labels, exact. Where one centroid has every label it is 0: the
        one codeword is empty, and the shape of the weights says how often to repeat it. (DEFLATE
        spends a bit on each symbol there, because its format cannot write a codeword of no bits.)

    Raises
    ------
    TypeError, ValueError
        As `shannon_bits`.

    Notes
    -----
    O(k log k) time.
    """
    subtrees = _used_counts(counts)
    heapq.heapify(subtrees)
    bits = 0
    while len(subtrees) > 1:
        # Joining two subtrees puts one more bit before every label below them.
        joined = heapq.heappop(subtrees) + subtrees[0]
        heapq.heapreplace(subtrees, joined)
        bits += joined
    return bits


def entropy_bits(counts: ArrayLike) -> float:
    """Empirical entropy of all the labels: no code for labels taken one by one goes below it.

    Parameters
    ----------
    counts : integer array, shape (k,)
        Number of labels for each centroid.

    Returns
    -------
    float
        ``sum_j m_j * log2(m / m_j)`` in bits (of all the labels, not of one), to a few units in
        the last place; exact where every ``m / m_j`` is a power of two.

    Raises
    ------
    TypeError, ValueError
        As `shannon_bits`.

    Notes
    -----
    O(k) time.
    """
    used = _used_counts(counts)
    total = sum(used)
    return math.fsum(count * _self_information(count, total) for count in used)


def compression_ratio(counts: ArrayLike, bits: SupportsIndex = 32) -> float:
    """Compression ratio ``r`` of a clustering, codebook included (Gao et al. 2019, section 5.3).

    Parameters
    ----------
    counts : integer array, shape (k,)
        Number of labels for each centroid. Unused centroids are stored too: they count in
        ``k``.
    bits : int, default 32
        Bits ``b`` of one weight before compression, and of one centroid after it.

    Returns
    -------
    float
        ``m b / (shannon_bits(counts) + k b)``: original size over compressed size.

    Raises
    ------
    TypeError
        If ``bits`` or the dtype of ``counts`` is not integer.
    ValueError
        As `shannon_bits`, or if ``bits`` is less than 1.
    """
    width = checked_integer("bits", bits, 1)
    label_bits = shannon_bits(counts)
    stored: list[int] = np.asarray(counts).tolist()
    return sum(stored) * width / (label_bits + len(stored) * width)


def _used_counts(counts: ArrayLike) -> list[int]:
    """Check ``counts`` and return its non-zero entries as Python integers, which never overflow."""
    check_plain_array("counts", counts)
    array = np.asarray(counts)
    if array.ndim != 1:
        raise ValueError(
            f"counts: expected one dimension, a number per centroid, got shape {array.shape}"
        )
    if array.size == 0:
        raise ValueError("counts: expected at least one number, got none")
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"counts: expected integers (as np.bincount(labels) gives), got dtype {array.dtype}"
        )
    negative = np.flatnonzero(array < 0)
    if negative.size:
        index = int(negative[0])
        raise ValueError(
            f"counts: expected no negative number, got {array[index]} at index {index}"
        )
    used: list[int] = array[array > 0].tolist()
    if not used:
        raise ValueError("counts: expected a sum of at least 1, got only zeros")
    return used


def _shannon_length(count: int, total: int) -> int:
    """Least integer ``length`` with ``2**length >= total / count``: ``ceil(log2(total/count))``."""
    ratio_rounded_up = -(-total // count)
    return (ratio_rounded_up - 1).bit_length()


def _self_information(count: int, total: int) -> float:
    """Bits of information ``log2(total / count)`` in meeting a label borne ``count`` times."""
    if 2 * count > total:
        # Near 1 the quotient total / count has already lost the digits that its logarithm needs.
        return math.log1p((total - count) / count) / math.log(2)
    return math.log2(total / count)
