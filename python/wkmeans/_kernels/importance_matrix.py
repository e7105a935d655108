"""Checks of `importance_matrix` and of the importances of rows that go with it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels.arrays import ArrayLike, Operand, as_operand
from wkmeans._kernels.checks import (
    bad_value_message,
    check_not_empty,
    first_index_where,
    shown_index,
)

FloatArray = npt.NDArray[np.float64]

NAME = "importance_matrix"
# Sums of n products in the matrix's own precision may be off by some of its last places, each
# relative to the largest entry; what is asymmetric or indefinite by no more is called rounding.
_ROUNDING = 8.0


def checked_matrices(
    matrix: ArrayLike, weights: Operand, n_threads: int, *, zero_counts_one: bool = True
) -> FloatArray:
    """`matrix` as float64 matrices ``(1 or rows, n, n)``, symmetric to the last bit.

    A matrix that is zero throughout is replaced by the identity, as importances are that are all
    zero, unless it may stay.
    """
    if len(weights.shape) != 2:
        raise ValueError(
            f"weights: expected shape (rows, n) with {NAME}, got shape {weights.shape}"
        )
    check_not_empty("weights", weights.shape)
    rows, n = weights.shape
    operand = as_operand(NAME, matrix, ("float32", "float64"))
    if operand.shape not in ((n, n), (rows, n, n)):
        raise ValueError(
            f"{NAME}: expected shape ({n}, {n}) or ({rows}, {n}, {n}), got {operand.shape}"
        )
    values = np.ascontiguousarray(operand.values().reshape(-1, n, n))
    prefix = len(operand.shape) - 2

    def shown(index: tuple[int, ...]) -> str:
        return shown_index(index if prefix else index[1:])

    largest = np.maximum(values.max(axis=(1, 2)), -values.min(axis=(1, 2)))
    if not np.isfinite(largest).all():
        bad = first_index_where(~np.isfinite(values)) or ()
        raise ValueError(f"{NAME}: expected finite values, got {values[bad]} at index {shown(bad)}")
    tolerance = _ROUNDING * n * np.finfo(operand.dtype).eps * largest
    uneven = _made_symmetric(values, tolerance)
    if uneven is not None:
        across = values[uneven[0], uneven[2], uneven[1]]
        raise ValueError(
            f"{NAME}: expected a symmetric matrix, got {values[uneven]} at index {shown(uneven)} "
            f"and {across} across the diagonal"
        )
    if zero_counts_one and not largest.all():
        values[largest == 0] = np.eye(n)
    for i, one in enumerate(values):
        damped = one.copy()
        damped.flat[:: n + 1] += tolerance[i] or 1.0
        if _core.cholesky(damped, n_threads) is not None:
            which = f" at index {i}" if prefix else ""
            raise ValueError(
                f"{NAME}: expected a positive semidefinite matrix, got one{which} whose smallest "
                f"eigenvalue is {np.linalg.eigvalsh(one)[0]:g}"
            )
    return values


def _made_symmetric(values: FloatArray, tolerance: FloatArray) -> tuple[int, int, int] | None:
    """Replaces matrices by the mean with their transposes, some rows and columns at a time.

    The first index whose value differs by more than `tolerance` from the one across the diagonal.
    """
    for i, matrix in enumerate(values):
        for begin in range(0, len(matrix), 256):
            rows = matrix[begin : begin + 256, begin:]
            columns = matrix[begin:, begin : begin + 256].T
            bad = first_index_where(np.abs(rows - columns) > tolerance[i])
            if bad is not None:
                return i, begin + bad[0], begin + bad[1]
            mean = (rows + columns) * 0.5
            rows[:] = mean
            columns[:] = mean
    return None


def checked_row_importances(
    importance: ArrayLike | None, rows: int, *, per_row: bool
) -> FloatArray:
    """One importance a row, from a number or an array ``(rows,)`` or ``(rows, 1)``.

    Importances of zero cost nothing whatever the answer is: they count 1 where nothing else does,
    which is so of each where rows are problems of their own.
    """
    if importance is None:
        return np.ones(rows)
    operand = as_operand("importance", importance)
    if operand.shape not in ((), (1,), (1, 1), (rows,), (rows, 1)):
        raise ValueError(
            f"importance: expected one a row with {NAME}, shape ({rows}, 1), got {operand.shape}"
        )
    values = operand.values()
    bad = first_index_where(~np.isfinite(values) | (values < 0))
    if bad is not None:
        raise ValueError(bad_value_message("importance", bad, float(values[bad])))
    found = np.ascontiguousarray(np.broadcast_to(values.reshape(-1), (rows,)))
    if per_row:
        return np.where(found > 0, found, 1.0)
    return found if found.any() else np.ones(rows)
