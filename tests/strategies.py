"""Hypothesis strategies for problems that hurt.

Weights with ties, duplicates, zeros of both signs, offsets far beyond their spread, clumps, heavy
tails, neighbouring floats, denormals and the ends of float32's range; importances absent, sparse,
equal, all zero, or 20 and 40 decades apart; k around and above the number of distinct weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from oracle import distinct

MAX_SIZE = 24


@dataclass(frozen=True)
class Problem:
    """One row of weights with its importances (``None`` where absent) and a ``k``."""

    weights: np.ndarray
    importance: np.ndarray | None
    quartic: np.ndarray | None
    k: int

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """What the oracle takes."""
        return self.weights, self.importance, self.quartic

    @property
    def keywords(self) -> dict[str, np.ndarray | None]:
        """The importances, as keyword arguments of the kernels."""
        return {"importance": self.importance, "quartic_importance": self.quartic}

    @property
    def distinct(self) -> int:
        """How many distinct weights carry importance."""
        return distinct(*self.data)


def signed(magnitudes: st.SearchStrategy[float]) -> st.SearchStrategy[float]:
    return st.builds(lambda sign, x: sign * x, st.sampled_from([1.0, -1.0]), magnitudes)


def decades(low: float, high: float) -> st.SearchStrategy[float]:
    """Positive numbers, uniform in their logarithm."""
    return st.floats(low, high).map(lambda e: 10.0**e)


ordinary = st.floats(-3, 3, width=32)
grid = st.integers(-6, 6).map(lambda i: i / 4)

WEIGHTS: dict[str, st.SearchStrategy[float]] = {
    "ordinary": ordinary,
    "ties": grid,
    "zeros": st.one_of(st.sampled_from([0.0, -0.0]), ordinary),
    "offset": ordinary.map(lambda x: 1e4 + 1e-3 * x),
    "clumps": st.builds(lambda side, x: side + 1e-3 * x, st.sampled_from([-1.0, 1.0]), ordinary),
    "heavy tails": signed(decades(-6, 6)),
    "neighbours": st.integers(0, 8).map(lambda ulps: 1.0 + ulps * 2.0**-52),
    "denormals": st.one_of(
        st.integers(-40, 40).map(lambda i: i * 5e-324), st.sampled_from([-1e-160, 1e-100, 1.0])
    ),
    "float32 ends": signed(st.sampled_from([0.0, 2.0**-149, 2.0**-126, 1.0, 3.0e38, 3.4e38])),
}

IMPORTANCES: dict[str, st.SearchStrategy[float] | None] = {
    "absent": None,
    "equal": st.just(0.25),
    "small integers": st.integers(1, 4).map(float),
    "sparse": st.one_of(st.just(0.0), st.floats(0.125, 8)),
    "all zero": st.just(0.0),
    "20 decades": decades(-10, 10),
    "40 decades": decades(-20, 20),
}


@st.composite
def problems(
    draw,
    *,
    min_size: int = 1,
    max_size: int = MAX_SIZE,
    weights=tuple(WEIGHTS),
    importances=tuple(IMPORTANCES),
    quartics=tuple(IMPORTANCES),
    spare=3,
    dtype=np.float64,
) -> Problem:
    """A problem whose weights and importances each come from one of the families named.

    ``k`` reaches up to ``spare`` above the number of distinct weights.
    """

    def row(elements, n):
        return np.array(draw(st.lists(elements, min_size=n, max_size=n)), np.float64)

    def optional_row(family, n):
        elements = IMPORTANCES[family]
        return None if elements is None else row(elements, n)

    n = draw(st.integers(min_size, max_size))
    w = row(WEIGHTS[draw(st.sampled_from(weights))], n)
    limit = float(np.finfo(dtype).max)
    w = np.clip(w, -limit, limit).astype(dtype)
    importance = optional_row(draw(st.sampled_from(importances)), n)
    quartic = optional_row(draw(st.sampled_from(quartics)), n)
    k = draw(st.integers(1, distinct(w, importance, quartic) + spare))
    return Problem(w, importance, quartic, k)


# Data on which every product is a normal number and no answer hangs on a rounding.
TAME_WEIGHTS = ("ordinary", "ties", "zeros", "clumps", "heavy tails")
TAME_IMPORTANCES = ("absent", "equal", "small integers", "sparse")


def tame_problems(**options) -> st.SearchStrategy[Problem]:
    options = {
        "weights": TAME_WEIGHTS,
        "importances": TAME_IMPORTANCES,
        "quartics": TAME_IMPORTANCES,
        **options,
    }
    return problems(**options)


seeds = st.integers(0, 2**32 - 1)
