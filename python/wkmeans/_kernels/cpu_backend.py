"""Clustering and pruning of arrays and tensors in the CPU's memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import wkmeans._core as _core
from wkmeans._kernels.arrays import (
    Array,
    ArrayLike,
    Operand,
    Problem,
    as_operand,
    explained_values,
    make_problem,
)
from wkmeans._kernels.formats import stored
from wkmeans._kernels.scores import explained_scores

__all__ = [
    "Outcome",
    "cluster",
    "cost_curve",
    "init_operand",
    "label_nearest",
    "make_problem",
    "prune",
    "prune_pattern",
    "prune_together",
]


class Outcome(NamedTuple):
    """A clustering in the caller's kind of array; one value each where there is no axis."""

    centroids: Any
    labels: Any
    cost: Any
    lower_bound: Any
    n_iter: Any
    scale: Any


def init_operand(init: ArrayLike) -> Operand:
    """Lloyd's given centroids."""
    return as_operand("init", init)


def cluster(problem: Problem, k: int, *, centroid_format: str, **options: Any) -> Outcome:
    is_torch = problem.weights.is_torch
    with explained_values(problem):
        centroids, labels, scales, costs, lower_bounds, n_iters = _core.cluster(
            problem.kernel_view,
            _core.ClusterOptions(k=k, centroid_format=centroid_format, **options),
            problem.label_dtype(k),
        )
    scaled = centroid_format == "int8"
    if scaled:
        centroids = np.rint(centroids / scales[:, np.newaxis])
    return Outcome(
        stored(centroids.reshape(*problem.batch_shape, k), centroid_format, as_torch=is_torch),
        problem.arrange(labels),
        _per_problem(problem, costs),
        _per_problem(problem, lower_bounds),
        _per_problem(problem, n_iters),
        _scale(problem, scales) if scaled else None,
    )


def label_nearest(problem: Problem, centroids: Array, n_threads: int) -> Any:
    """Labels by `centroids`, ``(problems, k)``."""
    with explained_values(problem):
        labels = _core.label_nearest(
            problem.kernel_view, centroids, problem.label_dtype(centroids.shape[1]), n_threads
        )
    return problem.arrange(labels)


def _per_problem(problem: Problem, values: Array) -> Any:
    if problem.axis is None:
        return values.item()
    return problem.weights.to_caller(values.reshape(problem.batch_shape))


def _scale(problem: Problem, scales: Array) -> Any:
    single = scales.astype(np.float32)
    if problem.axis is None:
        return problem.weights.to_caller(single)[0]
    return _per_problem(problem, single)


def cost_curve(problem: Problem, k_max: int, **options: Any) -> Any:
    with explained_values(problem):
        costs = _core.cost_curve(problem.kernel_view, k_max=k_max, **options)
    return problem.weights.to_caller(costs.reshape(*problem.batch_shape, k_max))


def prune(problem: Problem, keep: int, n_threads: int) -> Any:
    with explained_values(problem), explained_scores([problem.operands]):
        return problem.arrange(_core.prune(problem.kernel_view, keep, n_threads))


def prune_together(problems: list[Problem], keep: int, n_threads: int) -> list[Any]:
    with explained_values(*problems), explained_scores(p.operands for p in problems):
        masks = _core.prune_together([p.kernel_view for p in problems], keep, n_threads)
    return [problem.arrange(mask) for problem, mask in zip(problems, masks, strict=True)]


def prune_pattern(problem: Problem, keep: int, group: int, n_threads: int) -> Any:
    with explained_values(problem), explained_scores([problem.operands]):
        return problem.arrange(_core.prune_pattern(problem.kernel_view, keep, group, n_threads))
