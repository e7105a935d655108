"""Integers on a trellis, and how files hold them, from docs/format.md alone."""

from __future__ import annotations

import math

import numpy as np


def next_state(state, second):
    """Of parity checks 13 and 4, octal: ``p_t + p_t-1 + p_t-3 + s_t-2`` is even, p parities and s
    second bits; a state is what three of them to come add up to so far."""
    this, following, last = state & 1, state >> 1 & 1, state >> 2
    return (following ^ this) | (last ^ second) << 1 | this << 2


def coded_order(row_exponents, block):
    """Of rows: in each block the largest exponents first."""
    rows = range(len(row_exponents))
    return sorted(rows, key=lambda r: (r // block, -row_exponents[r], r))


def along_the_trellis(halves, row_exponents, block):
    """Integers whose halves, rounded down, are given."""
    z = np.zeros_like(halves)
    for c in range(halves.shape[1]):
        state = 0
        for i, r in enumerate(coded_order(row_exponents, block)):
            state = 0 if i % block == 0 else state
            z[r, c] = 2 * halves[r, c] + (state & 1)
            state = next_state(state, int(halves[r, c]) & 1)
    return z


def tabled_as_documented(payload, row_exponents, column_exponents, width, block, low):
    """Integers from docs/format.md alone, of a payload with tables."""
    data = payload.tobytes()
    position = 0

    def number():
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    a = row_exponents - row_exponents.min()
    b = column_exponents - column_exponents.min()
    tables = []
    for _ in range(2 * ((int(a.max()) + int(b.max())) // width + 1)):
        first, size = number(), number()
        counts = {first + j: number() for j in range(size)}
        used, n, total, bounds = [j for j in counts if counts[j]], sum(counts.values()), 0, []
        for i, j in enumerate(used):
            bounds.append(total * (2**24 - len(used)) // n + i)
            total += counts[j]
        tables.append((used, [*bounds, 2**24]))
    rows, columns = len(a), len(b)
    of_chunk = block * math.ceil(2**16 / (block * columns))
    n_chunks = math.ceil(rows / of_chunk)
    lengths = [number() for _ in range(n_chunks - 1)]
    words = np.frombuffer(data[position:], "<u4").tolist()
    lengths.append(len(words) - sum(lengths))
    order = coded_order(row_exponents, block)
    z = np.zeros((rows, columns), np.int64)
    for chunk in range(n_chunks):
        mine, words = words[: lengths[chunk]], words[lengths[chunk] :]
        state = 0
        while mine and state < 2**32:
            state = state << 32 | mine.pop()
        for i in range(chunk * of_chunk, min(rows, (chunk + 1) * of_chunk)):
            if i % block == 0:
                states = [0] * columns
            for c in range(columns):
                odd = states[c] & 1
                used, bounds = tables[2 * int((a[order[i]] + b[c]) // width) + odd]
                quantile = state % 2**24
                j = max(j for j in range(len(used)) if bounds[j] <= quantile)
                state = (state >> 24) * (bounds[j + 1] - bounds[j]) + quantile - bounds[j]
                if state < 2**32 and mine:
                    state = state << 32 | mine.pop()
                half = used[j] + low // 2
                z[order[i], c] = 2 * half + odd
                states[c] = next_state(states[c], half & 1)
        assert state == 0 and not mine
    return z


def learnt_as_documented(words, of_row, of_column, block=None):
    """Integers from docs/format.md alone."""

    def toward_zero(a, b):
        return abs(a) // b * (1 if a >= 0 else -1)

    def kept(x, low, high):
        return max(low, min(high, x))

    def logit(p):
        return kept(round(256 * math.log(p / (4096 - p))), -2047, 2047)

    state, words = 0, list(words)
    while words and state < 2**32:
        state = state << 32 | words.pop()

    def bit(p):
        nonlocal state
        quantile = state % 2**24
        ones = 4096 * p
        one = quantile < ones
        start, width = (0, ones) if one else (ones, 2**24 - ones)
        state = (state >> 24) * width + quantile - start
        if state < 2**32 and words:
            state = state << 32 | words.pop()
        return int(one)

    counters, weights = {}, [[2**20 // 3] * 3 for _ in range(18)]

    def learnt(question, contexts):
        found = [counters.setdefault((question, i, c), [32768, 0]) for i, c in enumerate(contexts)]
        logits = [logit(max(1, c[0] // 16)) for c in found]
        mine = weights[question]
        total = toward_zero(sum(v * x for v, x in zip(mine, logits, strict=True)), 2**20)
        p = kept(round(4096 / (1 + math.exp(-kept(total, -2047, 2047) / 256))), 1, 4095)
        b = bit(p)
        for i, x in enumerate(logits):
            mine[i] = kept(mine[i] + toward_zero(3 * (4096 * b - p) * x, 1024), -(2**23), 2**23)
        for c in found:
            c[0] += toward_zero(2 * (65535 * b - c[0]), 2 * c[1] + 3)
            c[1] = min(c[1] + 1, 254)
        return b

    def bucket(activity):
        x = activity[0] // 256 + 5
        o = x.bit_length() - 1
        return min(23, 2 * o - 4 + (x >= 3 * 2 ** (o - 1)))

    def see(activity, m, most):
        activity[0] += toward_zero(65536 * min(m, 255) - activity[0], activity[1] + 2)
        activity[1] = min(activity[1] + 1, most)

    z = np.zeros((len(of_row), len(of_column)), np.int64)
    magnitudes = np.zeros_like(z)
    columns = [[19661, 0] for _ in of_column]
    states = [0] * len(of_column)
    for r, row_spread in enumerate(of_row):
        row = [19661, 0]
        if block is not None and r % block == 0:
            states = [0] * len(of_column)
        for c, column_spread in enumerate(of_column):
            m1, m2 = (int(magnitudes[r, c - i]) if c >= i else 0 for i in (1, 2))
            m3 = int(magnitudes[r - 1, c]) if r else 0
            own = bucket(columns[c])
            contexts = (
                min(63, (row_spread + column_spread) // 8),
                24 * own + bucket(row),
                18 * own + 9 * min(m2, 1) + 3 * min(m1, 2) + min(m3, 2),
            )
            odd = 0 if block is None else states[c] & 1
            m = 0
            while m < 16 and learnt(16 + m if odd and m < 2 else m, contexts):
                m += 1
            if m == 16:
                digits, e = 0, 1
                while digits < 20 and bit(2048):
                    digits += 1
                for _ in range(digits):
                    e = 2 * e + bit(2048)
                m = 15 + e
            whole = m if block is None else 2 * m + odd
            z[r, c] = -whole if whole and bit(2048) else whole
            magnitudes[r, c] = m
            states[c] = next_state(states[c], int(z[r, c]) >> 1 & 1)
            see(row, m, 62)
            see(columns[c], m, 510)
    assert state == 0 and not words
    return z
