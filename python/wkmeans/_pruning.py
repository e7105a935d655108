"""`wkmeans.prune`, importance-weighted top-k pruning, and `wkmeans.compensate` for what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wkmeans._kernels import matrix_prune
from wkmeans._kernels.arrays import ArrayLike
from wkmeans._kernels.backends import Backend, BackendProblem, backend_of
from wkmeans._kernels.checks import (
    checked_density,
    checked_pattern,
    importance_pair,
    normalised_axis,
)
from wkmeans._kernels.threads import resolve_n_threads


def prune(
    weights: ArrayLike | Mapping[str, ArrayLike],
    density: float | None = None,
    *,
    importance: ArrayLike | Mapping[str, ArrayLike] | None = None,
    quartic_importance: ArrayLike | Mapping[str, ArrayLike] | None = None,
    importance_matrix: ArrayLike | None = None,
    axis: int | None = None,
    pattern: tuple[int, int] | None = None,
    n_threads: int | None = None,
) -> Any:
    """Mask of the weights to keep: those of largest ``I w^2 + H w^4``.

    Zeroing a weight costs exactly that much, so keeping the largest scores is optimal (Gao, Liu,
    Wang, Oh 2019, section 5.3). One selection, O(n), not a sort.

    Parameters
    ----------
    weights : array_like or mapping of them
        As for `wkmeans.wkmeans`. A mapping is pruned globally: one budget is shared by its arrays.
    density : float
        Share of weights to keep, 0 to 1: exactly ``round(density * n)`` of them.
    importance, quartic_importance : array_like or mapping, optional
        I and H, broadcastable to the weights; None is 1 and 0. For a mapping of weights, mappings
        with an entry (an array or None) for each of its keys; an entry of `importance` may be a
        pair ``(importance, quartic_importance)``, as `wkmeans.importance.estimate` gives them.
    importance_matrix : array_like, optional
        S as for `wkmeans.wkmeans`, for one array of weights ``(rows, n)``; `importance` is then one
        number a row. The mask is sought that lessens ``sum_r I_r p_r S p_r'`` with p what is
        pruned: from the mask that is optimal for S's diagonal, never above it, kept and pruned
        weights change places while that gains. `compensate` then makes up for what is gone.
    axis : int, optional
        Keep the same number along this axis at each of the other positions.
    pattern : (int, int), optional
        ``(n, m)`` keeps the best n of every m consecutive weights along the last axis, in place of
        a density.
    n_threads : int, optional
        As for `wkmeans.wkmeans`.

    Returns
    -------
    bool array, shape of the weights, or a dict of them
        True where a weight is kept. Scores are compared as float64; of equal scores the smaller
        index is kept, in a mapping the earlier array.

    Raises
    ------
    ValueError, TypeError
        As for `wkmeans.wkmeans`; also for a density out of range, a pattern that does not divide
        the last axis, or mappings whose keys differ.
    OverflowError
        Where a score is more than float64 holds.
    """
    threads = resolve_n_threads(n_threads)
    if importance_matrix is not None:
        return _prune_under_matrix(
            weights,
            density,
            quartic_importance,
            axis,
            pattern,
            importance_matrix=importance_matrix,
            importance=importance,
            n_threads=threads,
        )
    if isinstance(weights, Mapping):
        if axis is not None:
            raise ValueError(f"axis: expected None for a mapping of weights, got {axis}")
        backend = backend_of(*weights.values())
        problems = _mapped_problems(backend, weights, importance, quartic_importance, pattern)
        if pattern is not None:
            return {
                key: _prune_pattern(backend, problem, pattern, density, threads)
                for key, problem in problems.items()
            }
        return _prune_together(backend, problems, density, threads)
    backend = backend_of(weights)
    if pattern is not None:
        if axis is not None:
            raise ValueError(f"axis: expected None with a pattern, which runs last, got {axis}")
        problem = backend.make_problem(weights, importance, quartic_importance, -1)
        return _prune_pattern(backend, problem, pattern, density, threads)
    problem = backend.make_problem(weights, importance, quartic_importance, axis)
    return backend.prune(problem, _keep_count(density, problem.n_items), threads)


def compensate(weights: ArrayLike, mask: ArrayLike, *, importance_matrix: ArrayLike) -> Any:
    """Weights that a mask keeps, moved so that they make up for those it prunes.

    Parameters
    ----------
    weights : array_like (rows, n)
        As for `wkmeans.wkmeans`.
    mask : bool array (rows, n)
        True where a weight is kept.
    importance_matrix : array_like (n, n) or (rows, n, n)
        S as for `wkmeans.wkmeans`.

    Returns
    -------
    array (rows, n), of the weights' dtype
        Zero outside the mask, and inside it what minimises ``(w_r - v_r) S (w_r - v_r)'`` exactly:
        the solution of the kept block's normal equations, by its pseudo-inverse where that is
        singular: what S does not see is zero then, whether anything is pruned or not. Importances
        of rows would change nothing.

    Raises
    ------
    ValueError, TypeError
        As for `wkmeans.wkmeans`; also for a mask of another shape or dtype.

    Notes
    -----
    One eigendecomposition, some ``10 kept^3``, for each different row of the mask.
    """
    return matrix_prune.compensate(weights, mask, importance_matrix)


def _prune_under_matrix(
    weights: Any,
    density: float | None,
    quartic_importance: Any,
    axis: int | None,
    pattern: tuple[int, int] | None,
    **options: Any,
) -> Any:
    if isinstance(weights, Mapping):
        raise ValueError("importance_matrix: expected None for a mapping of weights")
    if quartic_importance is not None:
        raise ValueError("quartic_importance: expected None with importance_matrix")
    position = normalised_axis(axis, 2)
    if position == 0:
        raise ValueError(f"axis: expected None or -1 with importance_matrix, got {axis}")
    if pattern is not None and axis is not None:
        raise ValueError(f"axis: expected None with a pattern, which runs last, got {axis}")

    def selection(n_items: int) -> tuple[int, int | None]:
        if pattern is None:
            return _keep_count(density, n_items), None
        return _pattern_for(pattern, density, n_items)

    return matrix_prune.prune(
        weights,
        selection=selection,
        per_row=position is not None or pattern is not None,
        **options,
    )


def _mapped_problems(
    backend: Backend,
    weights: Mapping[str, ArrayLike],
    importance: Any,
    quartic_importance: Any,
    pattern: tuple[int, int] | None,
) -> dict[str, BackendProblem]:
    if not weights:
        raise ValueError("weights: expected at least one array, got an empty mapping")
    for name, mapping in (("importance", importance), ("quartic_importance", quartic_importance)):
        _check_keys(name, mapping, weights)
    return {
        key: backend.make_problem(
            array,
            *_importances_of(key, importance, quartic_importance),
            None if pattern is None else -1,
            entry=f"[{key!r}]",
        )
        for key, array in weights.items()
    }


def _importances_of(key: str, importance: Any, quartic_importance: Any) -> tuple[Any, Any]:
    """Both of one array, of which the first mapping's entry may hold the second too."""
    entry = None if importance is None else importance[key]
    first, second = importance_pair(f"importance[{key!r}]", entry)
    if quartic_importance is None:
        return first, second
    if second is not None:
        raise ValueError(
            "quartic_importance: expected None where importance holds pairs (importance, quartic "
            f"importance), as importance[{key!r}] is, got both"
        )
    return first, quartic_importance[key]


def _check_keys(name: str, mapping: Any, weights: Mapping[str, ArrayLike]) -> None:
    if mapping is None:
        return
    if not isinstance(mapping, Mapping):
        kind = type(mapping).__name__
        raise TypeError(f"{name}: expected a mapping, as the weights are, got {kind}")
    different = sorted(map(repr, set(weights) ^ set(mapping)))
    if different:
        keys = ", ".join(different)
        raise ValueError(f"{name}: expected the keys of the weights, they differ in {keys}")


def _prune_together(
    backend: Backend, problems: dict[str, BackendProblem], density: float | None, threads: int
) -> dict[str, Any]:
    keep = _keep_count(density, sum(problem.n_items for problem in problems.values()))
    masks = backend.prune_together(list(problems.values()), keep, threads)
    return dict(zip(problems, masks, strict=True))


def _prune_pattern(
    backend: Backend,
    problem: BackendProblem,
    pattern: tuple[int, int],
    density: float | None,
    threads: int,
) -> Any:
    keep, group = _pattern_for(pattern, density, problem.n_items)
    return backend.prune_pattern(problem, keep, group, threads)


def _pattern_for(pattern: tuple[int, int], density: float | None, length: int) -> tuple[int, int]:
    keep, group = checked_pattern(pattern)
    if length % group:
        raise ValueError(
            f"pattern: expected m to divide the last axis of length {length}, got {pattern!r}"
        )
    if density is not None and density != keep / group:
        raise ValueError(f"density: expected None with a pattern of {keep}:{group}, got {density}")
    return keep, group


def _keep_count(density: float | None, n: int) -> int:
    if density is None:
        raise TypeError("density: expected a number from 0 to 1, got None (or give a pattern)")
    return round(checked_density(density) * n)
