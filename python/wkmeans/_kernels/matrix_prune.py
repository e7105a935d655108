"""Pruning under a whole importance matrix: which weights go, and what the others become.

Without the pruned weights ``p`` of a row the objective is ``p S p'``: what a weight's removal costs
depends on which others go. Starting from the mask that is optimal for the diagonal, kept and pruned
weights change places as long as that lowers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wkmeans._kernels import cpu_backend
from wkmeans._kernels.arrays import ArrayLike, Operand, as_operand, is_torch_tensor
from wkmeans._kernels.checks import first_index_where, shown_index
from wkmeans._kernels.formats import stored
from wkmeans._kernels.importance_matrix import checked_matrices, checked_row_importances

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_MAX_ROUNDS = 64


def prune(
    weights: ArrayLike,
    *,
    importance_matrix: ArrayLike,
    importance: ArrayLike | None,
    selection: Callable[[int], tuple[int, int | None]],
    per_row: bool,
    n_threads: int,
) -> Any:
    """The mask.

    selection: from the number of weights of a problem, a row or all rows together, to how many of
    how many neighbours are kept; of the whole problem where the second is None.
    """
    operand = as_operand("weights", weights)
    matrices = checked_matrices(importance_matrix, operand, n_threads)
    rows, _ = operand.shape
    row_importance = checked_row_importances(importance, rows, per_row=per_row)
    diagonals = np.diagonal(matrices, axis1=1, axis2=2)
    problem = cpu_backend.make_problem(
        weights,
        row_importance[:, None] * diagonals,
        None,
        1 if per_row else None,
    )
    count, group = selection(problem.n_items)
    start = (
        cpu_backend.prune(problem, count, n_threads)
        if group is None
        else cpu_backend.prune_pattern(problem, count, group, n_threads)
    )
    mask = np.array(start.numpy() if operand.is_torch else start)
    _swap(operand.values(), matrices, row_importance, mask, group, per_row)
    return operand.to_caller(mask)


def _swap(
    weights: FloatArray,
    matrices: FloatArray,
    row_importance: FloatArray,
    mask: Mask,
    group: int | None,
    per_row: bool,
) -> None:
    """Lets kept and pruned weights change places, in place, while the objective falls.

    Each round swaps the pairs that promise most, as many as half of those that promise anything;
    what they do to one another was not foreseen, so where the objective has not fallen they are
    taken back and a quarter as many are tried. Rows are judged each by itself unless all compete.
    """
    rows = len(weights)
    own = np.einsum("...ii->...i", matrices) * weights**2
    share = np.full(rows if per_row else 1, 0.5)
    products = _products(np.where(mask, 0.0, weights), matrices)
    costs = _costs(weights, mask, products, row_importance, per_row)
    for _ in range(_MAX_ROUNDS):
        # What a weight's absence costs while all others stay as they are.
        change = np.where(mask, own, -own) + 2 * weights * products
        scores = row_importance[:, None] * change
        trial = mask.copy()
        moved = _exchange(scores, trial, share, group, per_row)
        if not moved.any():
            return
        new_products = _products(np.where(trial, 0.0, weights), matrices)
        new_costs = _costs(weights, trial, new_products, row_importance, per_row)
        better = new_costs < costs
        share = np.where(better, share, share / 4)
        chosen = better if per_row else np.broadcast_to(better, (rows,))
        mask[chosen] = trial[chosen]
        products[chosen] = new_products[chosen]
        costs = np.where(better, new_costs, costs)


def _products(pruned: FloatArray, matrices: FloatArray) -> FloatArray:
    if len(matrices) == 1:
        return np.asarray(pruned @ matrices[0])
    return np.asarray(np.einsum("ri,rij->rj", pruned, matrices))


def _costs(
    weights: FloatArray, mask: Mask, products: FloatArray, row_importance: FloatArray, per_row: bool
) -> FloatArray:
    rows = row_importance * np.sum(np.where(mask, 0.0, weights) * products, axis=1)
    return np.asarray(rows if per_row else rows.sum(keepdims=True))


def _exchange(
    scores: FloatArray, mask: Mask, share: FloatArray, group: int | None, per_row: bool
) -> Mask:
    """Swaps pairs of a kept weight and a pruned one of higher score; which problems had any."""
    problems = mask.reshape(len(share), -1) if per_row else mask.reshape(1, -1)
    values = scores.reshape(problems.shape)
    moved = np.zeros(len(problems), bool)
    for i, (kept, worth) in enumerate(zip(problems, values, strict=True)):
        pairs = _pairs(kept, worth, group)
        if not len(pairs):
            continue
        count = int(np.ceil(len(pairs) * share[i])) if share[i] * len(pairs) >= 0.25 else 0
        chosen = pairs[:count]
        kept[chosen[:, 0]] = False
        kept[chosen[:, 1]] = True
        moved[i] = count > 0
    return moved


def _pairs(kept: Mask, worth: FloatArray, group: int | None) -> npt.NDArray[np.intp]:
    """Pairs (kept, pruned), those that promise most first.

    For a kept weight `worth` is what its removal adds, for a pruned one what its return takes off.
    """
    if group is None:
        lowest = np.flatnonzero(kept)
        highest = np.flatnonzero(~kept)
        lowest = lowest[np.argsort(worth[lowest], kind="stable")]
        highest = highest[np.argsort(-worth[highest], kind="stable")]
        count = min(len(lowest), len(highest))
        pairs = np.stack([lowest[:count], highest[:count]], axis=1)
    else:
        groups = worth.reshape(-1, group)
        inside = kept.reshape(-1, group)
        both = inside.any(axis=1) & ~inside.all(axis=1)
        lowest = np.where(inside, groups, np.inf).argmin(axis=1)
        highest = np.where(inside, -np.inf, groups).argmax(axis=1)
        first = np.arange(len(groups)) * group
        pairs = np.stack([first + lowest, first + highest], axis=1)[both]
    promise = worth[pairs[:, 1]] - worth[pairs[:, 0]]
    order = np.argsort(-promise, kind="stable")
    return np.asarray(pairs[order[promise[order] > 0]])


def compensate(weights: ArrayLike, mask: ArrayLike, importance_matrix: ArrayLike) -> Any:
    """As `wkmeans.compensate` promises it."""
    operand = as_operand("weights", weights)
    matrices = checked_matrices(importance_matrix, operand, 1, zero_counts_one=False)
    kept = _checked_mask(mask, operand)
    values = operand.values()
    result = np.zeros_like(values)
    if len(matrices) == 1:
        # Rows of equal masks share one factorisation.
        masks, which = np.unique(kept, axis=0, return_inverse=True)
        for number, columns in enumerate(masks):
            rows = np.flatnonzero(which.reshape(-1) == number)
            result[np.ix_(rows, columns)] = _solved(matrices[0], columns, values[rows])
    else:
        for row, columns in enumerate(kept):
            result[row, columns] = _solved(matrices[row], columns, values[row : row + 1])[0]
    return stored(result, operand.dtype, as_torch=operand.is_torch)


def _solved(matrix: FloatArray, kept: Mask, rows: FloatArray) -> FloatArray:
    """Kept weights of rows: what the pruned ones did is passed on to them.

    As a correction of the weights: where nothing is lost none is made, to the last bit, unless the
    matrix leaves directions open.
    """
    if not kept.any():
        return rows[:, kept]
    block = matrix[np.ix_(kept, kept)]
    eigenvalues, vectors = np.linalg.eigh(block)
    rounding = len(matrix) * np.finfo(np.float64).eps * max(np.diagonal(matrix).max(), 0.0)
    inverse = np.divide(
        1.0, eigenvalues, out=np.zeros_like(eigenvalues), where=eigenvalues > rounding
    )
    pushed = rows[:, ~kept] @ matrix[np.ix_(~kept, kept)]
    if (eigenvalues > rounding).all():
        return np.asarray(rows[:, kept] + ((pushed @ vectors) * inverse) @ vectors.T)
    # Directions that the matrix does not see are left at zero, as the pseudo-inverse leaves them.
    seen = rows[:, kept] @ block + pushed
    return np.asarray(((seen @ vectors) * inverse) @ vectors.T)


def _checked_mask(mask: ArrayLike, operand: Operand) -> Mask:
    array = np.asarray(mask.detach().cpu().numpy() if is_torch_tensor(mask) else mask)
    if array.dtype != np.bool_:
        raise TypeError(f"mask: expected booleans, got {array.dtype}")
    if array.shape != operand.shape:
        raise ValueError(f"mask: expected the weights' shape {operand.shape}, got {array.shape}")
    bad = first_index_where(~np.isfinite(operand.values()))
    if bad is not None:
        raise ValueError(
            f"weights: expected finite values, got {operand.values()[bad]} at index "
            f"{shown_index(bad)}"
        )
    return array
