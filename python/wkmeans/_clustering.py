"""`wkmeans.wkmeans` and `wkmeans.cost_curve`: weighted one-dimensional clustering."""

from __future__ import annotations

from typing import Any

from wkmeans._clustered import Clustering
from wkmeans._kernels import matrix_cluster
from wkmeans._kernels.arrays import ArrayLike, Operand
from wkmeans._kernels.backends import backend_of
from wkmeans._kernels.checks import (
    check_centroids,
    checked_integer,
    checked_k,
    checked_name,
    normalised_axis,
)
from wkmeans._kernels.formats import resolve_format
from wkmeans._kernels.threads import resolve_n_threads

_INITS = ("quantile", "linear", "kmeans++")


def wkmeans(
    weights: ArrayLike,
    k: int,
    *,
    importance: ArrayLike | None = None,
    quartic_importance: ArrayLike | None = None,
    importance_matrix: ArrayLike | None = None,
    solver: str = "optimal",
    init: ArrayLike | None = None,
    max_iter: int = 300,
    axis: int | None = None,
    centroid_dtype: Any = None,
    include_zero: bool = False,
    n_threads: int | None = None,
    seed: int = 0,
    certify: bool = False,
) -> Clustering:
    """Cluster weights around k centroids, minimising ``sum I (w - c)^2 + H (w - c)^4``.

    Parameters
    ----------
    weights : array_like
        float16, bfloat16 (torch), float32 or float64, any shape and strides, read in place; a list
        is taken as float64. Torch tensors are answered with torch tensors on their own device;
        for those on CUDA every other array is a tensor there too.
    k : int
        Number of centroids, 1 to 65536.
    importance, quartic_importance : array_like, optional
        I and H, non-negative, of the weights' shape or broadcastable to it. None is 1 and 0.
        A weight without importance takes its nearest centroid and moves nothing; where a whole
        problem has none, each of its weights counts 1.
    importance_matrix : array_like, optional
        S, a whole matrix of importances, float32 or float64, symmetric and positive semidefinite:
        ``(n, n)``, shared by all rows of weights ``(rows, n)``, or ``(rows, n, n)``. What is
        minimised is then ``sum_r I_r (w_r - v_r) S (w_r - v_r)'`` with `importance` one number a
        row, ``(rows, 1)``, and `axis` None or -1. Labels are chosen column by column with
        feedback of errors, then one by one; codebooks by least squares under S (beyond 1024 shared
        or 256 centroids a row, those that are optimal for single columns are kept). Of all that was
        tried the best is kept; the certified optimum for S's diagonal is among it. A local optimum:
        `lower_bound` is None, and labels need not be nearest. Takes some ten times the
        ``rows n^2`` multiply-adds of ``weights @ S`` and the memory of five such matrices. A matrix
        of zeros counts as the identity.
    solver : {"optimal", "lloyd"}
        "optimal" finds the global optimum and certifies it; beyond the sort it mostly costs as
        much as some rounds over a few dozen cells per centroid. "lloyd" is Algorithm 2 of Gao, Liu,
        Wang, Oh (2019), O(n) for the sort and O(k log n) a round; it stops at a local optimum.
    init : array_like or {"quantile", "linear", "kmeans++"}, optional
        Where Lloyd starts: k centroids (or ``(..., k)``, some for each problem); evenly spaced
        ranks, the default; evenly spaced values; or random draws by `seed`.
    max_iter : int
        At most so many rounds of Lloyd; it stops earlier only where a round changes nothing.
    axis : int, optional
        Cluster along this axis, one codebook for each of the other positions. None clusters
        everything together.
    centroid_dtype : str or dtype, optional
        Store centroids as "float64", "float32", "float16", "bfloat16", "float8_e4m3fn",
        "float8_e5m2" or "int8" (times a scale: the widest weight that counts, over 127). The
        optimal solver finds the optimum among the values the format holds, and bounds that; Lloyd
        rounds its result. None is float64 for double and float32 for other weights, each free
        optimum rounded to the better neighbour.
    include_zero : bool
        One of the k centroids is exactly 0, the others optimal beside it.
    n_threads : int, optional
        None takes every core, or what WKMEANS_NUM_THREADS or OMP_NUM_THREADS says. Results are the
        same to the last bit for every number.
    seed : int
        For ``init="kmeans++"``; the same for every problem.
    certify : bool
        For ``solver="lloyd"``: set `lower_bound` too, so that ``cost / lower_bound - 1`` is the gap
        to the optimum. Shares the sort with Lloyd but costs an optimal solve besides, and changes
        nothing else. The optimal solver always certifies.

    Returns
    -------
    Clustering
        Where fewer than k distinct weights carry importance the cost is 0, surplus centroids repeat
        the largest one and no label names them. Where costs leave float64's range on the way, the
        problem is solved multiplied by powers of two, which takes a copy of it on the CPU and
        changes no digit: the optimum is found, its `cost` is infinite only where its value is
        beyond float64, and `lower_bound` then is float64's largest number.

    Raises
    ------
    ValueError
        For NaN or infinity in the weights, for importances that are not finite and non-negative,
        for shapes that do not broadcast, empty weights, or k, axis, init, max_iter out of range;
        for an importance matrix that is not finite, symmetric and positive semidefinite to
        rounding, or given along with what it leaves no room for.
    TypeError
        For other dtypes, for tensors that are not dense, or on different devices.
    ImportError
        For tensors on CUDA, where the package was built without its kernels.
    """
    if importance_matrix is not None:
        _check_alone_with_matrix(quartic_importance, solver, init, certify)
        return _cluster_under_matrix(
            weights,
            checked_k("k", k),
            axis,
            importance_matrix=importance_matrix,
            importance=importance,
            centroid_dtype=centroid_dtype,
            include_zero=bool(include_zero),
            n_threads=resolve_n_threads(n_threads),
        )
    backend = backend_of(weights)
    problem = backend.make_problem(weights, importance, quartic_importance, axis)
    k = checked_k("k", k)
    init = "quantile" if init is None else init
    outcome = backend.cluster(
        problem,
        k=k,
        solver=checked_name("solver", solver, ("optimal", "lloyd")),
        init=checked_name("init", init, _INITS) if isinstance(init, str) else "",
        given_centroids=[]
        if isinstance(init, str)
        else _given_centroids(backend.init_operand(init), k, problem.batch_shape),
        max_iter=checked_integer("max_iter", max_iter, 0, 2**31 - 1),
        seed=checked_integer("seed", seed, 0, 2**64 - 1),
        certify=bool(certify),
        centroid_format=resolve_format(centroid_dtype, problem.weights_dtype),
        optimal_in_format=centroid_dtype is not None,
        include_zero=bool(include_zero),
        n_threads=resolve_n_threads(n_threads),
    )
    certified = solver == "optimal" or certify
    return Clustering(
        centroids=outcome.centroids,
        labels=outcome.labels,
        cost=outcome.cost,
        lower_bound=outcome.lower_bound if certified else None,
        n_iter=outcome.n_iter,
        axis=problem.axis,
        scale=outcome.scale,
    )


def _check_alone_with_matrix(
    quartic_importance: Any, solver: str, init: Any, certify: bool
) -> None:
    for name, value, expected in (
        ("quartic_importance", quartic_importance, None),
        ("solver", solver, "optimal"),
        ("init", init, None),
        ("certify", certify, False),
    ):
        if value is not expected and (expected is None or value != expected):
            raise ValueError(f"{name}: expected {expected!r} with importance_matrix, got {value!r}")


def _cluster_under_matrix(
    weights: ArrayLike, k: int, axis: int | None, **options: Any
) -> Clustering:
    position = normalised_axis(axis, 2)
    if position == 0:
        raise ValueError(f"axis: expected None or -1 with importance_matrix, got {axis}")
    outcome = matrix_cluster.cluster(weights, k, per_row=position is not None, **options)
    return Clustering(
        centroids=outcome.centroids,
        labels=outcome.labels,
        cost=outcome.cost,
        lower_bound=None,
        n_iter=outcome.n_iter,
        axis=position,
        scale=outcome.scale,
    )


def cost_curve(
    weights: ArrayLike,
    k_max: int,
    *,
    importance: ArrayLike | None = None,
    quartic_importance: ArrayLike | None = None,
    axis: int | None = None,
    centroid_dtype: Any = None,
    include_zero: bool = False,
    n_threads: int | None = None,
) -> Any:
    """The optimal cost for every number of centroids from 1 to `k_max`.

    Non-increasing and convex in k. Parameters are those of `wkmeans`. Centroids are real
    numbers unless `centroid_dtype` names a format. Costs a sort and, for each
    k, an optimal solve without it; O(k_max n log n) where there are few weights for that.

    Returns
    -------
    float64 array (..., k_max)
        A torch tensor for torch weights. Entry ``k - 1`` is the optimum with k centroids.
    """
    backend = backend_of(weights)
    problem = backend.make_problem(weights, importance, quartic_importance, axis)
    return backend.cost_curve(
        problem,
        k_max=checked_k("k_max", k_max),
        include_zero=bool(include_zero),
        centroid_format=(
            "float64" if centroid_dtype is None else resolve_format(centroid_dtype, "float64")
        ),
        n_threads=resolve_n_threads(n_threads),
    )


def _given_centroids(operand: Operand, k: int, batch_shape: tuple[int, ...]) -> list[float]:
    shape = (*batch_shape, k)
    if operand.shape not in ((k,), shape):
        expected = f"shape ({k},)" if shape == (k,) else f"shape ({k},) or {shape}"
        raise ValueError(f"init: expected {expected}, got {operand.shape}")
    centroids = operand.values()
    check_centroids("init", centroids)
    given: list[float] = centroids.ravel().tolist()
    return given
