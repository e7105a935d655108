"""Quantisation under a whole importance matrix S, by feedback of errors.

With ``S + d I = L L'`` the objective ``(w - v) S (w - v)'`` of a row is a sum over columns of
``l_ii^2 (target - v_i)^2``, where the target of a column is its weight plus what the errors of the
columns quantised before it have left to be done. Each column is therefore quantised against its
target, one after another (successive cancellation; Babai's nearest plane). All sums are doubles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels.threads import resolve_n_threads

FloatArray = npt.NDArray[np.float64]

TRELLIS_ERROR = 0.2596
"""Mean squared error on a long trellis, in squared steps, where steps are small: 1 / 12 is that of
rounding, and four times as much that of rounding to even integers."""


@dataclass(frozen=True)
class Factor:
    """``S + d I = L L'``, made by `factorised`; serves any number of feedback passes.

    Attributes
    ----------
    order : int64 array (n,)
        Columns in the order they are quantised.
    diagonal : float64 array (n,)
        ``l_ii`` of each column: ``l_ii^2`` is what a squared error there, once all later columns
        have made up for it as well as real numbers could, adds to the objective.
    """

    order: npt.NDArray[np.int64]
    diagonal: FloatArray
    kernel: _core.FeedbackFactor

    def arranged(self, columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values for each column along the last axis, as the kernel has them: the first is last."""
        return np.ascontiguousarray(columns[..., self.order[::-1]])

    def restored(self, arranged: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What the kernel answers, in the caller's order of columns."""
        columns = np.empty_like(arranged)
        columns[..., self.order[::-1]] = arranged
        return columns


@dataclass(frozen=True)
class LatticeFeedback:
    """Integers ``z`` (rows, n) that stand for ``row_steps[r] column_steps[i] z``.

    Attributes
    ----------
    integers : int32 array (rows, n)
    costs : float64 array (rows,)
        ``(w - v) (S + d I) (w - v)'`` of each row, w what it was to reach.
    products, squares : float64 array (n,)
        ``<u, z>`` and ``<z, z>`` of each column over the rows, u the targets met, in steps.
    """

    integers: npt.NDArray[np.int32]
    costs: FloatArray
    products: FloatArray
    squares: FloatArray

    @property
    def best_factors(self) -> FloatArray:
        """`best_factors` of these rows."""
        return best_factors(self.products, self.squares)


def best_factors(products: FloatArray, squares: FloatArray) -> FloatArray:
    """What each column's step would have to be multiplied by for its integers to leave the least
    squared error against the targets met; 1 where all of a column's integers are zero."""
    return np.divide(products, squares, out=np.ones(len(products)), where=squares > 0)


def factorised(
    matrix: npt.ArrayLike,
    *,
    damping: float = 0.0,
    order: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> Factor:
    """Cholesky factor of ``matrix + damping I`` for columns quantised in `order`.

    Parameters
    ----------
    matrix : array (n, n)
        Symmetric; of a matrix that is not quite, the lower triangle (after reordering) is read.
    damping : float
        Added to the diagonal.
    order : int array (n,), optional
        A permutation: the columns in the order they are to be quantised. None is the last first.
    n_threads : int, optional
        As for `wkmeans.wkmeans`; changes no bit of the result.

    Raises
    ------
    ValueError
        Where ``matrix + damping I`` is not positive definite to rounding, or `order` is no
        permutation.

    Notes
    -----
    ``n^3 / 3`` multiply-adds.
    """
    values = np.asarray(matrix)
    n = len(values)
    if order is None:
        columns = np.arange(n - 1, -1, -1)
        lower = np.array(values, np.float64, order="C")
    else:
        columns = np.asarray(order, np.int64)
        if not np.array_equal(np.sort(columns), np.arange(n)):
            raise ValueError(f"order: expected a permutation of 0 to {n - 1}, got {order!r}")
        lower = np.array(values[np.ix_(columns[::-1], columns[::-1])], np.float64, order="C")
    lower.flat[:: n + 1] += damping
    threads = resolve_n_threads(n_threads)
    bad = _core.cholesky(lower, threads)
    if bad is not None:
        raise ValueError(
            f"importance_matrix: expected a positive definite matrix with damping {damping:g}, got "
            f"one whose leading block up to column {columns[n - 1 - bad]} is not"
        )
    diagonal = np.empty(n)
    diagonal[columns[::-1]] = np.diagonal(lower)
    return Factor(columns, diagonal, _core.FeedbackFactor(lower, threads))


def lattice_feedback(
    weights: npt.ArrayLike,
    factor: Factor,
    *,
    row_steps: npt.ArrayLike,
    column_steps: npt.ArrayLike,
    block: int | None = None,
    row_coefficients: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> LatticeFeedback:
    """Round weights to a lattice of one step a row and column, with feedback of errors.

    With `block`, integers follow a trellis of eight states (Ungerboeck, 1982) down each column,
    anew every so many rows: those that are nearest to the targets, together, by Viterbi's
    algorithm. In each state integers are even or odd; a step is from an even to an odd one.

    For least distortion at a given entropy the steps are ``c / (sqrt(g_r) l_ii)``: ``row_steps = c
    / sqrt(g)`` and ``column_steps = 1 / factor.diagonal`` (waterfilling: each entry that is not
    all zero then adds the same to the objective, `TRELLIS_ERROR` times ``c^2``).

    Parameters
    ----------
    weights : array (rows, n)
        Taken as float64.
    factor : Factor
        From `factorised`.
    row_steps, column_steps : array (rows,), (n,)
        Positive and finite, as are their products.
    block : int, optional
        Rows that a trellis is followed for; None: integers are free.
    row_coefficients : array (rows, rows), optional
        What the error ``w - v`` of each row before a row adds to the row's target, in every
        column; what does not stand before is not read. All rows are one block.
    n_threads : int, optional
        As for `wkmeans.wkmeans`; changes no bit of the result.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or an integer beyond 32 bits.

    Notes
    -----
    ``rows n^2 / 2`` multiply-adds; with coefficients of rows, ``rows^2 n`` more.
    """
    rows = np.asarray(weights, np.float64)
    n = len(factor.diagonal)
    if rows.ndim != 2 or rows.shape[1] != n:
        raise ValueError(f"weights: expected shape (rows, {n}), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("weights: expected finite values, got NaN or infinity")
    row_factors = _positive("row_steps", row_steps, len(rows))
    if block is None:  # a trellis of one row has the even integers
        found = lattice_feedback(
            rows,
            factor,
            row_steps=row_factors / 2,
            column_steps=column_steps,
            block=1,
            n_threads=n_threads,
        )
        return replace(
            found,
            integers=found.integers // 2,
            products=found.products / 4,
            squares=found.squares / 4,
        )
    column_factors = _positive("column_steps", column_steps, n)
    integers, costs, products, squares = _core.feed_back_on_lattice(
        factor.kernel,
        factor.arranged(rows),
        row_factors,
        factor.arranged(column_factors),
        block,
        None if row_coefficients is None else np.ascontiguousarray(row_coefficients, np.float64),
        resolve_n_threads(n_threads),
    )
    return LatticeFeedback(
        factor.restored(integers), costs, factor.restored(products), factor.restored(squares)
    )


def _positive(name: str, values: npt.ArrayLike, size: int) -> FloatArray:
    array = np.asarray(values, np.float64)
    if array.shape != (size,):
        raise ValueError(f"{name}: expected shape ({size},), got {array.shape}")
    bad = ~((array > 0) & np.isfinite(array))
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(
            f"{name}: expected positive, finite values, got {array[index]} at index {index}"
        )
    return np.ascontiguousarray(array)
