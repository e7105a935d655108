"""The price of a bit at which something has the size asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_TOLERANCE = 0.005  # of the budget may be left unused
# Of multipliers, as exponents of 2: where sizes jump nothing lies between two this near.
_NARROWEST = 1e-6
_LARGEST_EXPONENT = 900.0


def within_budget(
    at: Callable[[float], Result],
    size_of: Callable[[Result], float],
    budget: float,
    n_weights: int,
    first: float,
) -> Result:
    """The result at the least multiplier found at which the size, in bits, is within the budget.

    Sizes fall, in steps, as the multiplier grows. At high resolution four times the multiplier save
    a bit a weight: steps by that rule from the first one lead to a bracket, inside which
    interpolation and bisection take turns.
    """
    search = _Bracket()
    exponent = math.log2(first)
    stride = 0.0
    best: Result | None = None
    while search.is_wide and abs(exponent) <= _LARGEST_EXPONENT:
        result = at(2.0**exponent)
        size = size_of(result)
        search.add(exponent, size - budget)
        if size <= budget:
            best = result
            if size >= (1 - _TOLERANCE) * budget:
                break
        if search.is_closed:
            exponent = search.next_exponent()
        else:
            stride = max(2 * abs(size - budget) / n_weights, 2 * stride, 0.25)
            exponent += math.copysign(stride, size - budget)
    if best is None:
        raise ValueError(
            f"bits: expected at least {size:.6g}, what one centroid a tensor takes, "
            f"got {budget:.6g}"
        )
    return best


class _Bracket:
    """Between the largest exponent known to be too small and the least known to be large enough."""

    def __init__(self) -> None:
        self._low, self._excess_at_low = -math.inf, 0.0
        self._high, self._excess_at_high = math.inf, 0.0
        self._bisects = True

    @property
    def is_closed(self) -> bool:
        return math.isfinite(self._high - self._low)

    @property
    def is_wide(self) -> bool:
        return self._high - self._low > _NARROWEST

    def add(self, exponent: float, excess: float) -> None:
        if excess > 0:
            self._low, self._excess_at_low = exponent, excess
        else:
            self._high, self._excess_at_high = exponent, excess

    def next_exponent(self) -> float:
        self._bisects = not self._bisects
        share = self._excess_at_low / (self._excess_at_low - self._excess_at_high)
        share = 0.5 if self._bisects else min(max(share, 0.05), 0.95)
        return self._low + share * (self._high - self._low)
