"""`wkmeans.entropy_constrained`: codebooks that weigh what labels cost to store."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._clustering import wkmeans
from wkmeans._kernels.arrays import (
    Array,
    ArrayLike,
    Problem,
    as_operand,
    explained_values,
    make_problem,
)
from wkmeans._kernels.checks import (
    check_centroids,
    checked_integer,
    checked_k,
    checked_number,
    first_index_where,
    overflow_message,
    shown_index,
)
from wkmeans._kernels.threads import resolve_n_threads
from wkmeans._quantized import Quantized
from wkmeans.rate import entropy_bits

# The best number of centroids to start from depends on the multiplier: fractions of k are tried for
# some rounds, after which they keep their order almost always.
_START_DIVISORS = (1, 2, 4)
_TRIAL_ROUNDS = 10

_WEIGHTS_END = 2.0**500


@dataclass(frozen=True, eq=False, repr=False)
class EntropyConstrained(Quantized):
    """A codebook with the labels it was fitted to. `labels` is a tensor for torch weights.

    Attributes
    ----------
    centroids : float64 array (k',)
        Ascending; every one is named by some label, so ``k' <= k``.
    labels : array, shape of the weights
        uint8 for k up to 256, else uint16; torch: uint8, else int32.
    counts : int64 array (k',)
        How many weights carry each label.
    cost : float
        ``sum I (w - c)^2 + H (w - c)^4``, summed directly about `centroids`.
    bits : float
        Entropy of all the labels, ``sum_j counts_j log2(n / counts_j)``.
    lagrangian : float
        ``cost + multiplier * bits``.
    n_iter : int
        How many times centroids and code lengths were refitted.
    """

    centroids: npt.NDArray[np.float64]
    labels: Any
    counts: npt.NDArray[np.int64]
    cost: float
    bits: float
    lagrangian: float
    n_iter: int

    def centroid_values(self) -> npt.NDArray[np.float64]:
        return self.centroids

    def dequantize(self) -> Any:
        """``centroids[labels]``, float64; a tensor for torch weights."""
        if isinstance(self.labels, np.ndarray):
            return self.centroids[self.labels]
        return sys.modules["torch"].from_numpy(self.centroids)[self.labels.long()]

    def _stored(self) -> Any:
        return self.centroids

    def _described(self) -> dict[str, Any]:
        shape = None if self.labels is None else tuple(self.labels.shape)
        return {"shape": shape, "cost": self.cost, "bits": self.bits}


def entropy_constrained(
    weights: ArrayLike,
    *,
    k: int,
    multiplier: float,
    importance: ArrayLike | None = None,
    quartic_importance: ArrayLike | None = None,
    include_zero: bool = False,
    start: ArrayLike | EntropyConstrained | None = None,
    max_iter: int = 300,
    n_threads: int | None = None,
) -> EntropyConstrained:
    """Minimise ``sum I (w - c)^2 + H (w - c)^4 + multiplier * entropy`` over codebook and labels.

    Entropy-constrained quantisation (Chou, Lookabaugh, Gray 1989, "Entropy-constrained vector
    quantization", in one dimension) under importances. A weight takes the label of least
    ``cost + multiplier * length``, so that one of little importance takes a short code and, with
    `include_zero`, is pruned where the code of zero is short. Centroids move to the root of their
    cubic, code lengths to ``-log2(counts / n)``, and unused centroids are dropped. Each of these
    lowers the Lagrangian, until no label changes: a local minimum, never above the start.

    Parameters
    ----------
    weights : array_like
        As for `wkmeans.wkmeans`, clustered together whatever their shape.
    k : int
        Most centroids there may be, 1 to 65536. Bits, not their number, limit what a codebook
        costs: several times as many as a fixed-length code would have are well spent.
    multiplier : float
        What one bit is worth in the unit of the cost, at least 0.
    importance, quartic_importance : array_like, optional
        As for `wkmeans.wkmeans`. A weight without importance takes the shortest code.
    include_zero : bool
        One centroid is exactly 0, for as long as any weight takes it.
    start : array_like (k,), EntropyConstrained, optional
        Centroids to start from, whose code lengths follow from the weights nearest to
        each, or an earlier answer (to another multiplier) with its code lengths. None starts from
        the optimal clusterings with k, k/2 and k/4 centroids and goes on with the best.
    max_iter : int
        At most so many refits. 0 leaves `start` as it is and labels the weights.
    n_threads : int, optional
        As for `wkmeans.wkmeans`; the same bits for every number.

    Returns
    -------
    EntropyConstrained

    Raises
    ------
    ValueError, TypeError
        As for `wkmeans.wkmeans`; also for a multiplier that is not finite and non-negative.
    OverflowError
        Where a weight costs more than float64 holds, or is beyond 2**500.

    Notes
    -----
    O(n k) a round, besides the optimal solver where there is no `start`.
    """
    rounds = checked_integer("max_iter", max_iter, 0, 2**31 - 1)
    price = checked_number("multiplier", multiplier)
    solver = EntropySolver(
        weights,
        importance=importance,
        quartic_importance=quartic_importance,
        k=k,
        include_zero=include_zero,
        n_threads=n_threads,
    )
    if isinstance(start, EntropyConstrained):
        return solver.alternate(start, price, rounds)
    if start is not None:
        return solver.alternate(solver.nearest(start), price, rounds)
    return solver.best_of(solver.optimal_starts(), price, rounds)


class EntropySolver:
    """One tensor and how to solve it, for any number of multipliers."""

    def __init__(
        self,
        weights: ArrayLike,
        *,
        importance: ArrayLike | None,
        quartic_importance: ArrayLike | None,
        k: int,
        include_zero: bool,
        n_threads: int | None,
    ) -> None:
        self._problem = make_problem(weights, importance, quartic_importance, None)
        self._unweighted = make_problem(weights, None, None, None)
        self._k = checked_k("k", k)
        self._include_zero = bool(include_zero)
        self._label_dtype = self._problem.label_dtype(self._k)
        self._n_threads = resolve_n_threads(n_threads)
        self._cluster = partial(
            wkmeans,
            weights,
            importance=importance,
            quartic_importance=quartic_importance,
            centroid_dtype="float64",
            include_zero=include_zero,
            n_threads=n_threads,
        )

    @property
    def n_items(self) -> int:
        return self._problem.n_items

    def optimal_starts(self) -> list[EntropyConstrained]:
        """The optimal clusterings with fractions of k centroids, without their labels.

        No multiplier enters them.
        """
        sizes = sorted({max(1, self._k // divisor) for divisor in _START_DIVISORS}, reverse=True)
        optima = map(self._optimum, sizes)
        return [replace(self._nearest(optimum), labels=None) for optimum in optima]

    def _optimum(self, k: int) -> Array:
        return np.unique(np.asarray(self._cluster(k).centroids))

    def nearest(self, centroids: ArrayLike) -> EntropyConstrained:
        """Centroids with the code lengths that follow from the weights nearest to each."""
        return self._nearest(_checked_centroids(centroids, self._k, self._include_zero))

    def _nearest(self, centroids: Array) -> EntropyConstrained:
        # Here the weights that do not count do.
        return self._run(self._unweighted, centroids, np.zeros(len(centroids)), 0.0, 0)

    def best_of(
        self, starts: Sequence[EntropyConstrained], multiplier: float, rounds: int
    ) -> EntropyConstrained:
        """All starts for some rounds, the best one for all."""
        trials = [self.alternate(s, multiplier, min(rounds, _TRIAL_ROUNDS)) for s in starts]
        best = min(trials, key=lambda trial: trial.lagrangian)
        return self.alternate(best, multiplier, rounds - best.n_iter)

    def alternate(
        self, start: EntropyConstrained, multiplier: float, rounds: int
    ) -> EntropyConstrained:
        lengths = np.log2(start.counts.sum() / start.counts)
        result = self._run(self._problem, start.centroids, lengths, multiplier, rounds)
        return replace(result, n_iter=start.n_iter + result.n_iter)

    def _run(
        self, problem: Problem, centroids: Array, lengths: Array, multiplier: float, rounds: int
    ) -> EntropyConstrained:
        with explained_values(problem), _explained_overflow(problem):
            found, labels, counts, cost, n_iter = _core.entropy_constrained(
                problem.kernel_view,
                centroids=centroids.tolist(),
                lengths=lengths.tolist(),
                multiplier=multiplier,
                include_zero=self._include_zero,
                max_iter=rounds,
                label_dtype=self._label_dtype,
                n_threads=self._n_threads,
            )
        bits = entropy_bits(counts)
        return EntropyConstrained(
            centroids=np.array(found),
            labels=problem.arrange(labels),
            counts=np.array(counts, np.int64),
            cost=cost,
            bits=bits,
            lagrangian=cost + multiplier * bits,
            n_iter=n_iter,
        )


@contextmanager
def _explained_overflow(problem: Problem) -> Iterator[None]:
    try:
        yield
    except _core.CostOverflow as error:
        raise _cost_overflow(problem, error.args[0]) from None


def _cost_overflow(problem: Problem, item: int) -> OverflowError:
    weights = problem.weights.values()
    index = tuple(int(i) for i in np.unravel_index(item, weights.shape))
    value = float(weights[index])
    expected = (
        "costs I (w - c)^2 + H (w - c)^4 below 1.8e308 about some centroid"
        if abs(value) < _WEIGHTS_END
        else "magnitudes below 2^500 = 3.3e150"
    )
    return OverflowError(overflow_message("weights", expected, index, value))


def _checked_centroids(start: ArrayLike, k: int, include_zero: bool) -> npt.NDArray[np.float64]:
    operand = as_operand("start", start)
    if operand.memory.ndim != 1 or not 1 <= operand.memory.size <= k:
        raise ValueError(f"start: expected 1 to k = {k} centroids, got shape {operand.shape}")
    centroids = operand.values()
    check_centroids("start", centroids)
    beyond = first_index_where(np.abs(centroids) >= _WEIGHTS_END)
    if beyond is not None:
        raise OverflowError(
            f"start: expected magnitudes below 2^500 = 3.3e150, got {centroids[beyond]} at index "
            f"{shown_index(beyond)}"
        )
    if include_zero and not np.any(centroids == 0.0):
        raise ValueError("start: expected a centroid that is 0 (include_zero=True), got none")
    return centroids
