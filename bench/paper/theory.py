"""Theorem 4 on random ReLU units: the objective orders the errors, and by how much it misses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from wkmeans import prune, wkmeans
from wkmeans.rate_distortion import relu_distortion

N_UNITS = 200
SIZE = 7
K = 3
_N_KEPT = 3


class Unit(NamedTuple):
    weights: np.ndarray
    data_variances: np.ndarray


class Theorem4(NamedTuple):
    """Over random units: how far the answers are from the least mean squared error, relatively.

    ``*_rule_1``: within the class that obeys rule 1, where the theorem holds. ``free``: against
    centroids moved to where the error itself is least; ``free_single`` with one centroid.
    """

    weighted_clustering_rule_1: np.ndarray
    plain_clustering_rule_1: np.ndarray
    weighted_pruning: np.ndarray
    plain_pruning: np.ndarray
    free: np.ndarray
    free_single: np.ndarray


def random_units() -> Iterator[Unit]:
    rng = np.random.default_rng(0)
    for _ in range(N_UNITS):
        yield Unit(rng.standard_normal(SIZE), rng.lognormal(sigma=1.5, size=SIZE))


def all_clusterings(unit: Unit) -> np.ndarray:
    """Every partition into at most `K` clusters, at the weighted means."""
    found = []
    for labels in itertools.product(range(K), repeat=SIZE):
        members = np.array(labels) == np.arange(K)[:, np.newaxis]
        used = members[members.any(axis=1)]
        means = (used @ (unit.data_variances * unit.weights)) / (used @ unit.data_variances)
        found.append(means @ used)
    return np.array(found)


def all_prunings(unit: Unit) -> np.ndarray:
    masks = np.zeros((0, SIZE))
    for kept in itertools.combinations(range(SIZE), _N_KEPT):
        mask = np.zeros(SIZE)
        mask[list(kept)] = 1
        masks = np.vstack([masks, mask])
    return masks * unit.weights


def error(unit: Unit, compressed: np.ndarray) -> np.ndarray:
    return np.asarray(relu_distortion(unit.weights, compressed, unit.data_variances))


def experiment() -> Theorem4:
    """By enumeration and in closed form."""
    return Theorem4(*np.array([_excesses(unit) for unit in random_units()]).T)


def _excesses(unit: Unit) -> list[float]:
    ones = np.ones(SIZE)
    least_clustering = error(unit, all_clusterings(unit)).min()
    least_pruning = error(unit, all_prunings(unit)).min()

    def clustered(importance: np.ndarray) -> float:
        return float(error(unit, wkmeans(unit.weights, K, importance=importance).dequantize()))

    def pruned(importance: np.ndarray) -> float:
        mask = prune(unit.weights, _N_KEPT / SIZE, importance=importance)
        return float(error(unit, unit.weights * mask))

    return [
        clustered(unit.data_variances) / least_clustering - 1,
        clustered(ones) / least_clustering - 1,
        pruned(unit.data_variances) / least_pruning - 1,
        pruned(ones) / least_pruning - 1,
        _excess_over_free_centroids(unit, K),
        _excess_over_free_centroids(unit, 1),
    ]


def _excess_over_free_centroids(unit: Unit, k: int) -> float:
    """Of the weighted optimum over its own partition with centroids of least error."""
    clustering = wkmeans(unit.weights, k, importance=unit.data_variances)
    result = minimize(
        lambda centroids: float(error(unit, centroids[clustering.labels])),
        clustering.centroids,
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-14, "maxiter": 4000},
    )
    weighted = float(error(unit, clustering.dequantize()))
    return weighted / min(float(result.fun), weighted) - 1
