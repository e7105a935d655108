"""within_budget on staircases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkmeans.compression.budget.bit_allocation import within_budget


def test_a_budget_below_every_size():
    with pytest.raises(ValueError, match="bits: expected at least 128, what one centroid a tensor"):
        within_budget(lambda multiplier: 128 + 1 / multiplier, lambda size: size, 100, 50, 1.0)


# Steps nearer to each other than the search tells apart are one.
exponents = st.integers(-300_000, 300_000).map(lambda thousandths: thousandths / 1000)


@given(
    steps=st.lists(st.tuples(exponents, st.integers(1, 10**6)), min_size=1, max_size=30),
    first=st.floats(-100, 100),
    budget=st.floats(0.0, 1.0),
)
def test_any_falling_staircase(steps, first, budget):
    """The best step is found, or one within tolerance, wherever the search starts."""
    floor = 10.0

    def size_at(multiplier):
        return floor + sum(height for at, height in steps if multiplier < 2.0**at)

    limit = floor + budget * (size_at(0.0) - floor)
    found = within_budget(size_at, lambda size: size, limit, 10**5, 2.0**first)
    best = max(size for size in [floor, *(size_at(2.0**at) for at, _ in steps)] if size <= limit)
    assert found <= limit
    assert found >= 0.995 * limit or found >= best
