"""What the full run established, as far as the quick one can tell: geometric means over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from experiment import Row
from matrix import WHOLE
from statistics_of_seeds import Selection

_THEOREM_TOLERANCE = 1e-5
_WEIGHTED = ("fisher", "gradient", "hessian", "gradient+hessian")


def failures(rows: Sequence[Row]) -> list[str]:
    """A sentence for each ordering that does not hold."""
    return [*_pruning(rows), *_solvers(rows), *_theorem(rows)]


def _pruning(rows: Sequence[Row]) -> Iterator[str]:
    """Figures 2 and 4, in the densities that a quick network bears."""
    for network in ("fully connected", "convolutional"):
        pruned = Selection(rows, "objectives", network, "prune")
        loss = {
            objective: np.log(pruned.values("cross_entropy", objective=objective)).mean()
            for objective in ("baseline", "batch gradient", *_WEIGHTED)
        }
        for better in _WEIGHTED:
            if not loss[better] < loss["baseline"]:
                yield f"{network}, pruning: {better} does not beat the baseline"
        if not loss["gradient"] < loss["batch gradient"]:
            yield f"{network}, pruning: exact gradients do not beat squared batch gradients"


def failures_of_matrices(rows: Sequence[Row]) -> list[str]:
    """A sentence for each diagonal objective that a whole matrix does not beat."""
    sentences = []
    for network, method in sorted({(r.network, r.method) for r in rows if r.method}):
        selection = Selection(rows, "objectives", network, method)
        whole = np.log(selection.values("cross_entropy", objective=WHOLE)).mean()
        for objective in ("baseline", *_WEIGHTED):
            loss = np.log(selection.values("cross_entropy", objective=objective)).mean()
            if not whole < loss:
                sentences.append(f"{network}, {method}: {WHOLE} does not beat {objective}")
    return sentences


def _solvers(rows: Sequence[Row]) -> Iterator[str]:
    """The optimum never costs more than Lloyd."""
    costs = {
        (r.network, r.seed, r.objective, r.setting): r.cost
        for r in rows
        if r.study == "solvers" and r.solver == "optimal"
    }
    for r in rows:
        if r.study == "solvers":
            least = costs[r.network, r.seed, r.objective, r.setting]
            if r.cost < least * (1 - 1e-6):  # what the cache's digits leave
                yield f"{r.network}, {r.objective}, k = {r.setting:g}: {r.solver} beats the optimum"


def _theorem(rows: Sequence[Row]) -> Iterator[str]:
    """Fisher is the Hessian."""
    for r in rows:
        if r.study == "theorem" and not r.cost < _THEOREM_TOLERANCE:
            yield f"{r.network}, seed {r.seed}: Hessian and Fisher differ by {r.cost:.2g}"
