"""What arguments have to be, and the one voice of the errors where they are not.

``name: expected ..., got ...``: the argument, what it should have been, what came and, of an array,
where.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_K = 65536
"""The most centroids a codebook may have."""


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer, NumPy's among them, but no bool."""
    number = None
    if not isinstance(value, (bool, np.bool_)):
        with suppress(TypeError):
            number = operator.index(value)
    if number is None:
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if high is None and number < low:
        raise ValueError(f"{name}: expected at least {low}, got {number}")
    if high is not None and not low <= number <= high:
        raise ValueError(f"{name}: expected {low} to {high}, got {number}")
    return number


def checked_k(name: str, value: Any, low: int = 1) -> int:
    """A number of centroids."""
    return checked_integer(name, value, low, MAX_K)


def checked_number(name: str, value: Any) -> float:
    """A finite, non-negative number."""
    number = _number(name, value, "a number")
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name}: expected a finite, non-negative number, got {value}")
    return number


def checked_density(value: Any) -> float:
    """A share of weights to keep."""
    density = _number("density", value, "a number from 0 to 1")
    if not 0 <= density <= 1:
        raise ValueError(f"density: expected 0 to 1, got {value}")
    return density


def checked_pattern(value: Any) -> tuple[int, int]:
    """How many of how many neighbours to keep."""
    try:
        keep, group = (operator.index(number) for number in value)
    except (TypeError, ValueError):
        raise TypeError(f"pattern: expected two integers (n, m), got {value!r}") from None
    if not 0 <= keep <= group or group < 1:
        raise ValueError(f"pattern: expected (n, m) with 0 <= n <= m and m >= 1, got {value!r}")
    return keep, group


def _number(name: str, value: Any, expected: str) -> float:
    if isinstance(value, (bool, np.bool_, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    return float(value)


def checked_name(argument: str, value: Any, names: Sequence[str]) -> str:
    """One of `names`."""
    if value not in names:
        raise ValueError(
            f"{argument}: expected one of {', '.join(map(repr, names))}, got {value!r}"
        )
    return str(value)


def importance_pair(name: str, value: Any) -> tuple[Any, Any]:
    """``(importance, quartic importance)`` of a mapping's entry.

    A tuple is such a pair; anything else, a list of rows among it, is an importance alone.
    """
    if not isinstance(value, tuple):
        return value, None
    if len(value) != 2:
        raise ValueError(
            f"{name}: expected an importance or a pair (importance, quartic importance), got a "
            f"tuple of {len(value)}"
        )
    return value


def normalised_axis(axis: Any, ndim: int) -> int | None:
    """`axis` counted from the front."""
    if axis is None:
        return None
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis: expected an integer or None, got {axis!r}")
    if ndim == 0:
        raise ValueError(f"axis: expected None for weights of no dimension, got {axis}")
    position: int = axis.__index__()
    if not -ndim <= position < ndim:
        raise ValueError(
            f"axis: expected {-ndim} to {ndim - 1} for {ndim}-dimensional weights, got {axis}"
        )
    return position % ndim


def check_not_empty(name: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise ValueError(f"{name}: expected at least one value, got shape {shape}")


def shape_error(name: str, expected: tuple[int, ...], got: tuple[int, ...]) -> ValueError:
    """For what does not broadcast to the weights."""
    return ValueError(
        f"{name}: expected a shape that broadcasts to the weights' {expected}, got {got}"
    )


def check_centroids(name: str, centroids: npt.NDArray[np.float64]) -> None:
    """Refuses those that are not finite."""
    bad = first_index_where(~np.isfinite(centroids))
    if bad is not None:
        raise ValueError(
            f"{name}: expected finite centroids, got {centroids[bad]} at index {shown_index(bad)}"
        )


def bad_value_message(name: str, index: tuple[int, ...] | None, value: float | None) -> str:
    """The sentence about the first bad value of weights or importances."""
    if index is None or value is None:
        return f"{name}: its values changed while they were being read"
    is_weight = name.startswith("weights")
    expected = "finite values" if is_weight else "finite, non-negative values"
    hint = ""
    if value < 0 and not is_weight:
        argument = name.split("[")[0]
        hint = f"; clamp with numpy.maximum({argument}, 0) or {argument}.clamp(min=0)"
    return f"{name}: expected {expected}, got {value} at index {shown_index(index)}{hint}"


def overflow_message(name: str, expected: str, index: tuple[int, ...], value: float) -> str:
    """The sentence about the first weight that is sound but not what it comes to."""
    return (
        f"{name}: expected {expected}, got {value} at index {shown_index(index)}; scale the "
        "weights or importances down"
    )


def first_index_where(condition: npt.NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Index of the first True in C order."""
    position = int(condition.argmax())
    if not condition.flat[position]:
        return None
    return tuple(int(i) for i in np.unravel_index(position, condition.shape))


def shown_index(index: tuple[int, ...]) -> str:
    return str(index[0] if len(index) == 1 else index)
