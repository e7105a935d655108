"""Paired comparisons over seeds: how much, and how surely."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from experiment import Row
from scipy import stats

LEVEL = 0.05


class Contrast(NamedTuple):
    """``factor``: geometric mean over seeds of one cross-entropy over another; ``p`` two-sided."""

    setting: float
    factor: float
    p: float

    @property
    def verdict(self) -> str:
        if not self.p < LEVEL:
            return "tie"
        return "better" if self.factor < 1 else "worse"


class Selection:
    """The rows of one study, network and method."""

    def __init__(self, rows: Iterable[Row], study: str, network: str, method: str) -> None:
        self._rows = [r for r in rows if (r.study, r.network, r.method) == (study, network, method)]
        self.settings = sorted({r.setting for r in self._rows})

    def values(self, column: str, **key: object) -> np.ndarray:
        """``(seeds, settings)`` of a column, for the rows of one objective, solver, ..."""
        wanted = [r for r in self._rows if all(getattr(r, name) == v for name, v in key.items())]
        table = {(r.seed, r.setting): float(getattr(r, column)) for r in wanted}
        if len(table) != len(wanted):
            raise ValueError(f"{key} does not name one row for each seed and setting")
        seeds, settings = (sorted({k[i] for k in table}) for i in range(2))
        return np.array([[table[seed, setting] for setting in settings] for seed in seeds])

    def means(self, column: str, **key: object) -> np.ndarray:
        return self.values(column, **key).mean(axis=0)

    def contrasts(self, one: str, other: str) -> list[Contrast]:
        """One objective's cross-entropy over another's at each setting; Holm over the settings."""
        pair = (self.values("cross_entropy", objective=o) for o in (one, other))
        return contrasts(self.settings, *pair)


def contrasts(settings: Sequence[float], one: np.ndarray, other: np.ndarray) -> list[Contrast]:
    """Of two ``(seeds, settings)`` arrays, by a paired t test of the logarithms."""
    logs = np.log(one) - np.log(other)
    factors = np.exp(logs.mean(axis=0))
    p_values = _holm([_paired_p(column) for column in logs.T])
    return [
        Contrast(setting, float(f), p)
        for setting, f, p in zip(settings, factors, p_values, strict=True)
    ]


def tally(contrasts: Sequence[Contrast]) -> str:
    """Counts of verdicts, and the range of the factors."""
    counts = {v: sum(c.verdict == v for c in contrasts) for v in ("better", "tie", "worse")}
    factors = [c.factor for c in contrasts]
    mean = math.exp(sum(math.log(f) for f in factors) / len(factors))
    return (
        f"{counts['better']} / {counts['tie']} / {counts['worse']} | "
        f"{mean:.3f} ({min(factors):.3f} to {max(factors):.3f})"
    )


def _paired_p(differences: np.ndarray) -> float:
    """1 where nothing differs, or there is but one seed."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return 1.0
    return float(stats.ttest_1samp(differences, 0).pvalue)


def _holm(p_values: Sequence[float]) -> list[float]:
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(p) for p in adjusted]
