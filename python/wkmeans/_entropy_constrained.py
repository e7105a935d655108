"""`wkmeans.entropy_constrained`: codebooks that weigh what labels cost to store."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wkmeans import _core
from wkmeans._arrays import (
    Array,
    ArrayLike,
    Problem,
    as_operand,
    explained_values,
    first_index_where,
    make_problem,
    shown_index,
)
from wkmeans._clustering import _checked_count, _checked_integer, _label_dtype, wkmeans
from wkmeans._threads import resolve_n_threads
from wkmeans.rate import entropy_bits

# The best number of codewords to start from depends on the multiplier: fractions of k are tried for
# some rounds, after which they keep their order almost always.
_START_DIVISORS = (1, 2, 4)
_TRIAL_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class EntropyConstrained:
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


def entropy_constrained(
    weights: ArrayLike,
    importance: ArrayLike | None = None,
    quartic_importance: ArrayLike | None = None,
    *,
    k: int,
    multiplier: float,
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
    cubic, code lengths to ``-log2(counts / n)``, and unused codewords are dropped. Each of these
    lowers the Lagrangian, until no label changes: a local minimum, never above the start.

    Parameters
    ----------
    weights, importance, quartic_importance : array_like
        As for `wkmeans.wkmeans`, clustered together whatever their shape. A weight without
        importance takes the shortest code.
    k : int
        Most codewords there may be, 1 to 65536. Bits, not their number, limit what a codebook
        costs: several times as many as a fixed-length code would have are well spent.
    multiplier : float
        What one bit is worth in the unit of the cost, at least 0.
    include_zero : bool
        One codeword is exactly 0, for as long as any weight takes it.
    start : array_like (k,), EntropyConstrained, optional
        Codewords to start from: centroids, whose code lengths follow from the weights nearest to
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
    problem = make_problem(weights, importance, quartic_importance, None)
    count = _checked_count("k", k)
    solver = _Solver(
        problem=problem,
        unweighted=make_problem(weights, None, None, None),
        multiplier=_checked_multiplier(multiplier),
        include_zero=bool(include_zero),
        label_dtype=_label_dtype(count, problem.weights.is_torch),
        n_threads=resolve_n_threads(n_threads),
    )
    rounds = _checked_integer("max_iter", max_iter, 0, 2**31 - 1)
    if isinstance(start, EntropyConstrained):
        return solver.alternate(start, rounds)
    if start is not None:
        return solver.alternate(
            solver.nearest(_checked_centroids(start, count, include_zero)), rounds
        )

    def first_rounds(size: int) -> EntropyConstrained:
        optimum = wkmeans(
            weights,
            size,
            importance=importance,
            quartic_importance=quartic_importance,
            centroid_dtype="float64",
            include_zero=include_zero,
            n_threads=n_threads,
        )
        centroids = np.unique(np.asarray(optimum.centroids))
        return solver.alternate(solver.nearest(centroids), min(rounds, _TRIAL_ROUNDS))

    sizes = sorted({max(1, count // divisor) for divisor in _START_DIVISORS}, reverse=True)
    best = min(map(first_rounds, sizes), key=lambda result: result.lagrangian)
    return solver.alternate(best, rounds - best.n_iter)


@dataclass(frozen=True)
class _Solver:
    problem: Problem
    unweighted: Problem  # in which the weights that do not count do
    multiplier: float
    include_zero: bool
    label_dtype: str
    n_threads: int

    def nearest(self, centroids: Array) -> EntropyConstrained:
        """`centroids` with the code lengths that follow from the weights nearest to each."""
        return self._run(self.unweighted, centroids, np.zeros(len(centroids)), 0.0, 0)

    def alternate(self, start: EntropyConstrained, rounds: int) -> EntropyConstrained:
        lengths = np.log2(start.counts.sum() / start.counts)
        result = self._run(self.problem, start.centroids, lengths, self.multiplier, rounds)
        return replace(result, n_iter=start.n_iter + result.n_iter)

    def _run(
        self, problem: Problem, centroids: Array, lengths: Array, multiplier: float, rounds: int
    ) -> EntropyConstrained:
        with explained_values(problem):
            found, labels, counts, cost, n_iter = _core.entropy_constrained(
                problem.kernel_view,
                centroids=centroids.tolist(),
                lengths=lengths.tolist(),
                multiplier=multiplier,
                include_zero=self.include_zero,
                max_iter=rounds,
                label_dtype=self.label_dtype,
                n_threads=self.n_threads,
            )
        bits = entropy_bits(counts)
        return EntropyConstrained(
            centroids=np.array(found),
            labels=problem.arrange(labels.view(np.int32) if labels.dtype == np.uint32 else labels),
            counts=np.array(counts, np.int64),
            cost=cost,
            bits=bits,
            lagrangian=cost + multiplier * bits,
            n_iter=n_iter,
        )


def _checked_multiplier(multiplier: float) -> float:
    if isinstance(multiplier, (bool, np.bool_)) or not hasattr(multiplier, "__float__"):
        raise TypeError(f"multiplier: expected a number, got {multiplier!r}")
    value = float(multiplier)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"multiplier: expected a finite, non-negative number, got {multiplier}")
    return value


def _checked_centroids(start: ArrayLike, k: int, include_zero: bool) -> npt.NDArray[np.float64]:
    operand = as_operand("start", start)
    if operand.memory.ndim != 1 or not 1 <= operand.memory.size <= k:
        raise ValueError(f"start: expected 1 to k = {k} centroids, got shape {operand.shape}")
    centroids = operand.values()
    bad = first_index_where(~np.isfinite(centroids))
    if bad is not None:
        raise ValueError(
            f"start: expected finite centroids, got {centroids[bad]} at index {shown_index(bad)}"
        )
    if include_zero and not np.any(centroids == 0.0):
        raise ValueError("start: expected a centroid that is 0 (include_zero=True), got none")
    return centroids
