"""Tests choose the way of a problem here, where a call of `wkmeans` takes the best one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np

from wkmeans import _core
from wkmeans._kernels.arrays import make_problem


@contextmanager
def routed(*, reading: str | None = None, search: str | None = None) -> Iterator[None]:
    """Has every clustering inside read by "counted", "bucketed" or "sorted", search by "squeeze",
    "lagrangian" or "layers"; ValueError where a problem does not allow it.
    """
    choose = partial(_core.ClusterOptions, reading=reading, search=search)
    with patch.object(_core, "ClusterOptions", choose):
        yield


def route_of(
    weights, k, *, quartic=False, axis=None, solver="optimal", centroid_format="float32", **options
) -> dict:
    """The route that a call with these options would take, by the facts alone."""
    quartic_importance = np.ones(np.shape(weights)) if quartic else None
    return _core.route_of(
        make_problem(weights, None, quartic_importance, axis).kernel_view,
        _core.ClusterOptions(
            **{
                "k": k,
                "solver": solver,
                "init": "quantile",
                "given_centroids": [],
                "max_iter": 300,
                "seed": 0,
                "certify": False,
                "centroid_format": centroid_format,
                "optimal_in_format": False,
                "include_zero": False,
                "n_threads": 1,
                **options,
            }
        ),
    )
