"""Clustering under a whole importance matrix, from a caller's arrays to a caller's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels.arrays import ArrayLike, as_operand, explained_values, make_problem
from wkmeans._kernels.cpu_backend import Outcome
from wkmeans._kernels.dtypes import label_dtype
from wkmeans._kernels.formats import resolve_format, stored
from wkmeans._kernels.importance_matrix import checked_matrices, checked_row_importances
from wkmeans._kernels.matrix_coupled import coupled
from wkmeans._kernels.matrix_search import Candidate, MatrixProblem, damped, search

FloatArray = npt.NDArray[np.float64]


def cluster(
    weights: ArrayLike,
    k: int,
    *,
    importance_matrix: ArrayLike,
    importance: ArrayLike | None,
    per_row: bool,
    centroid_dtype: Any,
    include_zero: bool,
    n_threads: int,
    coupling: FloatArray | None = None,
) -> Outcome:
    """As `wkmeans.wkmeans` promises it; `lower_bound` is None.

    coupling: how errors of rows add to one another, as `coupled` has it, for one codebook and one
    matrix; row importances are positive then.
    """
    operand = as_operand("weights", weights)
    matrices = checked_matrices(importance_matrix, operand, n_threads)
    rows, n = operand.shape
    row_importance = checked_row_importances(importance, rows, per_row=per_row)
    centroid_format = resolve_format(centroid_dtype, operand.dtype)

    def optimum(column_weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centroids, scales and labels of the certified optimum for diagonal importances."""
        diagonal = column_weights if per_row else row_importance[:, None] * column_weights
        problem = make_problem(weights, diagonal, None, 1 if per_row else None)
        options = _core.ClusterOptions(
            k=k,
            solver="optimal",
            init="quantile",
            given_centroids=[],
            max_iter=0,
            seed=0,
            certify=False,
            centroid_format=centroid_format,
            optimal_in_format=centroid_dtype is not None,
            include_zero=include_zero,
            n_threads=n_threads,
        )
        with explained_values(problem):
            centroids, labels, scales, *_ = _core.cluster(problem.kernel_view, options, "uint16")
        return centroids, scales, labels.reshape(rows, n)

    diagonals = np.diagonal(matrices, axis1=1, axis2=2)
    centroids, scales, labels = optimum(diagonals)
    # Feedback takes the last column first, and had better take the one of most importance first.
    order = np.argsort(diagonals, axis=1, kind="stable")
    arranged = np.empty_like(matrices)
    for matrix, columns, target in zip(matrices, order, arranged, strict=True):
        target[:] = matrix[np.ix_(columns, columns)]
    problem = MatrixProblem(
        _arranged(operand.values(), order),
        arranged,
        row_importance,
        k,
        not per_row,
        lambda codebooks: _core.round_to_format(codebooks, centroid_format, scales),
        include_zero,
        n_threads,
    )
    certified = Candidate(centroids, _arranged(labels, order), np.zeros(rows))

    def codebooks_for(column_weights: FloatArray) -> FloatArray:
        restored = np.empty_like(column_weights)
        np.put_along_axis(restored, order, column_weights, axis=1)
        return optimum(restored)[0]

    passes = damped(problem, certified.codebooks)
    best, n_iter = search(problem, passes, codebooks_for, certified)
    if coupling is not None:
        best = coupled(problem, passes, coupling, best)
    return _outcome(operand, best, order, scales, centroid_format, per_row, problem, n_iter)


def _arranged(values: npt.NDArray[Any], order: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(order) == 1:
        return np.ascontiguousarray(values[:, order[0]])
    return np.take_along_axis(values, order, axis=1)


def _outcome(
    operand: Any,
    best: Candidate,
    order: npt.NDArray[Any],
    scales: FloatArray,
    centroid_format: str,
    per_row: bool,
    problem: MatrixProblem,
    n_iter: int,
) -> Outcome:
    rows, k = len(problem.weights), problem.k
    labels = np.empty(best.labels.shape, label_dtype(k, as_torch=operand.is_torch))
    np.put_along_axis(labels, np.broadcast_to(order, labels.shape), best.labels, axis=1)
    centroids = best.codebooks
    scale = None
    if centroid_format == "int8":
        centroids = np.rint(centroids / scales[:, None])
        scale = operand.to_caller(scales.astype(np.float32))
        scale = scale if per_row else scale[0]
    centroids = stored(centroids, centroid_format, as_torch=operand.is_torch)
    costs = problem.row_importance * best.costs
    return Outcome(
        centroids if per_row else centroids[0],
        operand.to_caller(labels),
        operand.to_caller(costs) if per_row else float(np.sum(costs)),
        None,
        operand.to_caller(np.full(rows, n_iter)) if per_row else n_iter,
        scale,
    )
