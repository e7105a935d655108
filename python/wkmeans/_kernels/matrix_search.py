"""Codebooks and labels under whole importance matrices: several starts, the best kept.

Minimises ``sum_r g_r (w_r - v_r) S (w_r - v_r)'`` by four steps, of which all but the first never
raise it: labels by feedback of errors, descent on single labels, codebooks by least squares under
S, rounding apart. Where codewords are few, feedback is better for damping that grows with their
distance, so a few dampings are tried; what starting codebooks were optimal for hardly matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core

FloatArray = npt.NDArray[np.float64]
LabelArray = npt.NDArray[np.uint16]

# Dampings that are tried, parts of the mean diagonal, times k^2: the squared distance of codewords
# falls as 1 / k^2, and what feedback pushes beyond the outermost of them is lost.
_DAMPINGS = (0.4, 0.04)
_SWEEPS = 2
_MAX_ROUNDS = 5
# Codewords up to which their normal equations are solved: beyond, k^3 outgrows the rest, and the
# optimal codebook for single columns leaves little to gain.
MOST_REFITTED = {True: 1024, False: 256}  # by whether all rows share one codebook
# A shared codebook is sought on so many weights, evenly spaced rows of them, and as many rows are
# enough to choose a damping.
_PROBE_WEIGHTS = 1 << 18
# Multiply-adds of one pass over all rows up to which such passes are repeated.
REPEATED_WORK = 1 << 32


@dataclass
class Candidate:
    """Codebooks ``(1 or rows, k)``, labels ``(rows, n)`` and the cost of each row, without g."""

    codebooks: FloatArray
    labels: LabelArray
    costs: FloatArray


@dataclass(frozen=True)
class MatrixProblem:
    """What is minimised, its columns in the order that feedback has them: the last is the first.

    Attributes
    ----------
    weights : float64 array (rows, n)
    matrices : float64 array (1 or rows, n, n)
    row_importance : float64 array (rows,)
    k : int
    is_shared : bool
        Whether all rows share one codebook.
    rounded : callable
        Codebooks as they can be stored.
    zero_stays : bool
        Whether a centroid that is zero is to remain so.
    n_threads : int
    """

    weights: FloatArray
    matrices: FloatArray
    row_importance: FloatArray
    k: int
    is_shared: bool
    rounded: Callable[[FloatArray], FloatArray]
    zero_stays: bool
    n_threads: int

    @property
    def work(self) -> int:
        return int(self.weights.size) * int(self.weights.shape[1])

    def total(self, costs: FloatArray) -> float:
        return float(np.sum(self.row_importance * costs))

    def some(self, rows: slice, codebooks: FloatArray) -> tuple[MatrixProblem, FloatArray]:
        """The same for some of the rows."""
        part = MatrixProblem(
            np.ascontiguousarray(self.weights[rows]),
            self.matrices if len(self.matrices) == 1 else self.matrices[rows],
            self.row_importance[rows],
            self.k,
            self.is_shared,
            self.rounded,
            self.zero_stays,
            self.n_threads,
        )
        return part, codebooks if self.is_shared else np.ascontiguousarray(codebooks[rows])

    def better(self, one: Candidate | None, other: Candidate) -> Candidate:
        """The better of two: of each row where rows have their own codebooks, else in all."""
        if one is None:
            return other
        if self.is_shared:
            return other if self.total(other.costs) < self.total(one.costs) else one
        wins = other.costs < one.costs
        return Candidate(
            np.where(wins[:, None], other.codebooks, one.codebooks),
            np.where(wins[:, None], other.labels, one.labels),
            np.where(wins, other.costs, one.costs),
        )


class Passes:
    """The kernels' passes over a problem's rows, with matrices factorised for one damping."""

    def __init__(self, problem: MatrixProblem, damping: float) -> None:
        self.damping = damping
        self._threads = problem.n_threads
        lower = problem.matrices.copy()
        n = lower.shape[1]
        for matrix in lower:
            matrix.flat[:: n + 1] += damping / problem.k**2 * np.mean(np.diagonal(matrix)).item()
            if _core.cholesky(matrix, self._threads) is not None:
                # Checked before to be positive semidefinite, to a rounding far below the damping.
                raise ArithmeticError("a damped importance matrix is not positive definite")
        self._matrices = _core.ImportanceMatrices(problem.matrices, lower, self._threads)
        # What a squared error of each column costs when the columns after it make up for it.
        self.column_weights = np.diagonal(lower, axis1=1, axis2=2) ** 2

    def labelled(self, problem: MatrixProblem, codebooks: FloatArray) -> Candidate:
        """Labels by feedback, then by descent."""
        labels = self.fed_back(problem, codebooks)
        return self.descended(problem, Candidate(codebooks, labels, np.empty(0)))

    def fed_back(self, problem: MatrixProblem, codebooks: FloatArray) -> LabelArray:
        labels, _ = _core.label_by_feedback(
            self._matrices, problem.weights, codebooks, self._threads
        )
        return labels

    def descended(self, problem: MatrixProblem, candidate: Candidate) -> Candidate:
        labels = candidate.labels.copy()
        costs = _core.descend_labels(
            self._matrices,
            problem.weights,
            candidate.codebooks,
            _SWEEPS,
            labels,
            self._threads,
        )
        return Candidate(candidate.codebooks, labels, costs)

    def descend_coupled(
        self,
        coupling: FloatArray,
        codebook: FloatArray,
        labels: LabelArray,
        products: FloatArray,
        own: FloatArray,
    ) -> None:
        """Better labels of some rows, in place, as are products: of their errors, and of all."""
        coupling = np.ascontiguousarray(coupling)
        _core.descend_coupled_labels(
            self._matrices, coupling, codebook, _SWEEPS, labels, products, own
        )

    def refitted(self, problem: MatrixProblem, candidate: Candidate) -> Candidate:
        """Codebooks by least squares, as they can be stored, ascending; costs are of before."""
        codebooks = problem.rounded(
            _core.refit_codebooks(
                self._matrices,
                problem.weights,
                candidate.codebooks,
                candidate.labels,
                problem.row_importance,
                problem.zero_stays,
                self._threads,
            )
        )
        return ascending(problem, codebooks, candidate)

    def costs(self, problem: MatrixProblem, candidate: Candidate) -> FloatArray:
        return _core.label_costs(
            self._matrices, problem.weights, candidate.codebooks, candidate.labels, self._threads
        )


def ascending(problem: MatrixProblem, codebooks: FloatArray, candidate: Candidate) -> Candidate:
    """The candidate with other codebooks for its labels, put in ascending order."""
    order = np.argsort(codebooks, axis=1, kind="stable")
    ranks = np.empty_like(order, np.uint16)
    np.put_along_axis(ranks, order, np.arange(problem.k, dtype=np.uint16)[None], axis=1)
    labels = (
        ranks[0][candidate.labels]
        if problem.is_shared
        else np.take_along_axis(ranks, candidate.labels.astype(np.intp), axis=1)
    )
    return Candidate(np.take_along_axis(codebooks, order, axis=1), labels, candidate.costs)


def search(
    problem: MatrixProblem,
    passes: Passes,
    optimum: Callable[[FloatArray], FloatArray],
    certified: Candidate,
) -> tuple[Candidate, int]:
    """The best clustering found, and how many rounds were made.

    optimum: the certified optimum's codebooks for weights of columns ``(1 or rows, n)``.
    certified: the answer for the matrices' diagonals: one of the starts, and what is returned where
    nothing better is found.
    """
    best, rounds = _from_start(problem, passes, certified.codebooks)
    if problem.work <= REPEATED_WORK:
        other, more = _from_start(problem, passes, optimum(passes.column_weights))
        best = problem.better(best, other)
        rounds += more
    return _not_above(problem, passes, best, certified), rounds


def _from_start(
    problem: MatrixProblem, passes: Passes, codebooks: FloatArray
) -> tuple[Candidate, int]:
    if problem.is_shared:
        probe, _ = _probe(problem, codebooks)
        if probe is not problem and len(problem.matrices) == 1:
            sought, rounds = _rounds(probe, passes, codebooks)
            return passes.labelled(problem, sought.codebooks), rounds
    return _rounds(problem, passes, codebooks)


def _probe(problem: MatrixProblem, codebooks: FloatArray) -> tuple[MatrixProblem, FloatArray]:
    rows, n = problem.weights.shape
    step = -(-rows * n // _PROBE_WEIGHTS)
    if step <= 1:
        return problem, codebooks
    return problem.some(slice(None, None, step), codebooks)


def damped(problem: MatrixProblem, codebooks: FloatArray) -> Passes:
    """With the damping whose feedback leaves least, on some of the rows."""
    probe, some = _probe(problem, codebooks)
    best: tuple[float, Passes] | None = None
    for damping in _DAMPINGS:
        passes = Passes(probe, damping)
        left = probe.total(passes.labelled(probe, some).costs)
        if best is None or left < best[0]:
            best = left, passes
    assert best is not None
    if len(problem.matrices) == 1 or probe is problem:
        return best[1]  # they serve any rows
    return Passes(problem, best[1].damping)


def _rounds(problem: MatrixProblem, passes: Passes, start: FloatArray) -> tuple[Candidate, int]:
    """Feedback, descent and least squares in turn while they gain, then without feedback."""
    best = passes.labelled(problem, start)
    if problem.k > MOST_REFITTED[problem.is_shared]:
        return best, 1
    repeats = _MAX_ROUNDS if problem.work <= REPEATED_WORK else 1
    made = 1
    for fed_back in (True, False):
        for _ in range(repeats):
            refitted = passes.refitted(problem, best)
            candidate = (
                passes.labelled(problem, refitted.codebooks)
                if fed_back
                else passes.descended(problem, refitted)
            )
            made += 1
            before = problem.total(best.costs)
            best = problem.better(best, candidate)
            if not problem.total(best.costs) < before * (1 - 1e-3):
                break
        if problem.work > REPEATED_WORK:
            break
    return best, made


def _not_above(
    problem: MatrixProblem, passes: Passes, best: Candidate, certified: Candidate
) -> Candidate:
    """`best`, or the certified answer where that costs no more."""
    if not problem.is_shared:
        certified.costs = passes.costs(problem, certified)
        return problem.better(certified, best)
    if len(problem.matrices) > 1:
        certified.costs = passes.costs(problem, certified)
        return problem.better(certified, best)
    # Costs are not negative: once those of some rows exceed the total, so do those of all.
    total, rows = problem.total(best.costs), len(problem.weights)
    costs = np.zeros(rows)
    for begin in range(0, rows, 512):
        span = slice(begin, begin + 512)
        part, codebooks = problem.some(span, certified.codebooks)
        labels = np.ascontiguousarray(certified.labels[span])
        costs[span] = passes.costs(part, Candidate(codebooks, labels, costs[span]))
        if problem.total(costs) > total:
            return best
    certified.costs = costs
    return problem.better(certified, best)
