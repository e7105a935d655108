"""Labels of rows whose errors add to one another, or make up for one another.

Minimises ``sum_rs G_rs (w_r - v_r) S (w_s - v_s)'``. With ``G = M M'`` errors are fed back from row
to row as ``S = L L'`` has them fed back from column to column; a few rows at a time are taken as if
they did not matter to each other. Then labels descend one by one, and the codebook is refitted.
Only feedback can raise the objective: the best of all rounds is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from wkmeans._kernels.matrix_search import (
    MOST_REFITTED,
    REPEATED_WORK,
    Candidate,
    LabelArray,
    MatrixProblem,
    Passes,
    ascending,
)

FloatArray = npt.NDArray[np.float64]

_ROUNDS = 3  # with feedback, and as many without
_PASSES = 4  # over all rows, of descent
_GROUPS = 256  # of rows that are labelled together, where there are more
_BLOCK = 32  # rows that descend before what they changed reaches the others
_STEPS = 4  # of conjugate gradients: codebooks are near their best before


def coupled(
    problem: MatrixProblem, passes: Passes, coupling: FloatArray, start: Candidate
) -> Candidate:
    """`start` or better; costs of rows, weighed by their importances, add up to the objective.

    problem: one matrix, one codebook, row importances that are positive.
    coupling: ``(rows, rows)``, ``G_rs / sqrt(G_rr G_ss)``, positive definite.
    """
    importance = problem.row_importance
    order = np.argsort(importance, kind="stable")  # the last row is the first to be labelled
    roots = np.sqrt(importance[order])
    rows = _Rows(
        replace(
            problem,
            weights=np.ascontiguousarray(problem.weights[order]),
            row_importance=importance[order],
        ),
        passes,
        coupling[np.ix_(order, order)] * np.outer(roots, roots),
    )
    best = rows.best_from(replace(start, labels=np.ascontiguousarray(start.labels[order])))
    labels, costs = np.empty_like(best.labels), np.empty_like(best.costs)
    labels[order], costs[order] = best.labels, best.costs
    return Candidate(best.codebooks, labels, costs)


@dataclass(frozen=True)
class _Rows:
    problem: MatrixProblem
    passes: Passes
    gram: FloatArray
    """G."""

    def best_from(self, start: Candidate) -> Candidate:
        problem = self.problem
        best = self._descended(start)
        for improved in (self._fed_back, self._descended):
            for _ in range(_ROUNDS if problem.work <= REPEATED_WORK else 1):
                before = problem.total(best.costs)
                candidate = improved(self._refitted(best))
                best = problem.better(best, candidate)
                if not problem.total(best.costs) < before * (1 - 1e-3):
                    break
        return best

    def _fed_back(self, start: Candidate) -> Candidate:
        """Labels by feedback, then by descent."""
        weights, codebooks = self.problem.weights, start.codebooks
        factor = np.linalg.cholesky(self.gram)
        labels, errors = np.empty_like(start.labels), np.empty_like(weights)
        for rows in _blocks(len(weights), -(-len(weights) // _GROUPS)):
            left = factor[rows.stop :, rows].T @ errors[rows.stop :]
            targets = weights[rows] + np.linalg.solve(factor[rows, rows].T, left)
            labels[rows] = self.passes.fed_back(replace(self.problem, weights=targets), codebooks)
            errors[rows] = weights[rows] - codebooks[0][labels[rows]]
        return self._descended(replace(start, labels=labels))

    def _descended(self, start: Candidate) -> Candidate:
        """Labels that are better one by one, and costs."""
        labels = start.labels.copy()
        own = self._errors(start) @ self.problem.matrices[0]
        for _ in range(_PASSES):
            before = labels.copy()
            for rows in _blocks(len(labels), _BLOCK):
                self.passes.descend_coupled(
                    self.gram[rows, rows],
                    start.codebooks[0],
                    labels[rows],
                    self.gram[rows] @ own,
                    own[rows],
                )
            if np.array_equal(labels, before):
                break
        return self._priced(replace(start, labels=labels))

    def _refitted(self, start: Candidate) -> Candidate:
        """The codebook by least squares, or on the way there; costs are of before."""
        problem, labels, codebook = self.problem, start.labels, start.codebooks[0]
        if problem.k > MOST_REFITTED[True]:
            return start
        own = np.outer(problem.row_importance, np.diagonal(problem.matrices[0]))
        free = codebook != 0 if problem.zero_stays else np.ones(problem.k, bool)
        changes = _solved(
            lambda values: free * self._by_label(self._products(values[labels]), labels),
            free * self._by_label(self._products(self._errors(start)), labels),
            free * self._by_label(own, labels),
        )
        return ascending(problem, problem.rounded((codebook + changes)[np.newaxis]), start)

    def _priced(self, candidate: Candidate) -> Candidate:
        errors = self._errors(candidate)
        rows = np.sum(errors * self._products(errors), axis=1)
        return replace(candidate, costs=rows / self.problem.row_importance)

    def _errors(self, candidate: Candidate) -> FloatArray:
        return np.asarray(self.problem.weights - candidate.codebooks[0][candidate.labels])

    def _products(self, values: FloatArray) -> FloatArray:
        return np.asarray(self.gram @ (values @ self.problem.matrices[0]))

    def _by_label(self, values: FloatArray, labels: LabelArray) -> FloatArray:
        return np.bincount(labels.ravel(), values.ravel(), self.problem.k).astype(np.float64)


def _blocks(rows: int, size: int) -> Iterator[slice]:
    """The last first."""
    for stop in range(rows, 0, -size):
        yield slice(max(0, stop - size), stop)


def _solved(
    multiply: Callable[[FloatArray], FloatArray], right: FloatArray, diagonal: FloatArray
) -> FloatArray:
    """``A x = right`` by some steps of conjugate gradients from zero."""
    inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    x, residual = np.zeros_like(right), right
    direction = inverse * residual
    energy = residual @ direction
    for _ in range(min(len(right), _STEPS)):
        image = multiply(direction)
        curvature = direction @ image
        if not curvature > 0:
            break
        x = x + energy / curvature * direction
        residual = residual - energy / curvature * image
        scaled = inverse * residual
        before, energy = energy, residual @ scaled
        direction = scaled + energy / before * direction
    return x
