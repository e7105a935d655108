"""The peers, each as one function from weights to centroids and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ckwrap
import faiss
import flash1dkmeans
import kmeans1d
import numba
import numpy as np
from flash1dkmeans import numba_kmeans_1d_k_cluster
from sklearn.cluster import KMeans

import wkmeans

Array = np.ndarray[Any, Any]
Answer = tuple[Array, Array]
MAX_ITER = 100


@dataclass(frozen=True)
class Contender:
    name: str
    solve: Callable[[Array, Array, int], Answer]
    optimal: bool = False
    weighted: bool = True
    keeps_a_table: bool = False  # two words for each weight and each of the k clusters


def wkmeans_optimal(weights: Array, importance: Array, k: int) -> Answer:
    found = wkmeans.wkmeans(weights, k, importance=importance)
    return found.centroids, found.labels


def wkmeans_lloyd(weights: Array, importance: Array, k: int) -> Answer:
    found = wkmeans.wkmeans(weights, k, importance=importance, solver="lloyd", max_iter=MAX_ITER)
    return found.centroids, found.labels


def wkmeans_lloyd_plus_plus(weights: Array, importance: Array, k: int) -> Answer:
    found = wkmeans.wkmeans(
        weights, k, importance=importance, solver="lloyd", init="kmeans++", max_iter=MAX_ITER
    )
    return found.centroids, found.labels


def flash1dkmeans_lloyd(weights: Array, importance: Array, k: int) -> Answer:
    answer: Answer = flash1dkmeans.kmeans_1d(
        weights, k, max_iter=MAX_ITER, sample_weights=importance, random_state=0
    )
    return answer


def sklearn_lloyd(weights: Array, importance: Array, k: int) -> Answer:
    found = KMeans(k, n_init=1, max_iter=MAX_ITER, random_state=0).fit(
        weights[:, None], sample_weight=importance
    )
    return found.cluster_centers_[:, 0], found.labels_


def faiss_lloyd(weights: Array, importance: Array, k: int) -> Answer:
    every_point = {"min_points_per_centroid": 1, "max_points_per_centroid": len(weights)}
    found = faiss.Kmeans(1, k, niter=25, seed=0, **every_point)
    found.train(weights[:, None], weights=importance)
    labels = found.index.search(weights[:, None], 1)[1][:, 0]
    return found.centroids[:, 0], labels


def ckwrap_optimal(weights: Array, importance: Array, k: int) -> Answer:
    found = ckwrap.ckmeans(weights.astype(np.float64), k, weights=importance.astype(np.float64))
    return found.centers, found.labels


def kmeans1d_optimal(weights: Array, importance: Array, k: int) -> Answer:
    found = kmeans1d.cluster(weights, k)
    return np.array(found.centroids), np.array(found.clusters)


OURS = Contender("wkmeans", wkmeans_optimal, optimal=True)
OUR_LLOYD = Contender("wkmeans lloyd", wkmeans_lloyd)
FLASH = Contender("flash1dkmeans", flash1dkmeans_lloyd)
CLUSTERING = (
    OURS,
    OUR_LLOYD,
    Contender("wkmeans lloyd, kmeans++", wkmeans_lloyd_plus_plus),
    FLASH,
    Contender("scikit-learn", sklearn_lloyd),
    Contender("faiss, 25 rounds", faiss_lloyd),
    Contender("ckwrap", ckwrap_optimal, optimal=True, keeps_a_table=True),
    Contender("kmeans1d", kmeans1d_optimal, optimal=True, weighted=False, keeps_a_table=True),
)


@numba.njit(parallel=True)
def flash1dkmeans_rows(
    weights: Array, importance: Array, k: int, centroids: Array, labels: Array
) -> None:
    """flash1dkmeans' compiled function on every row, rows in parallel."""
    n = weights.shape[1]
    for row in numba.prange(weights.shape[0]):
        order = np.argsort(weights[row])
        weight = weights[row][order]
        x = weight.astype(np.float64)
        mass = importance[row][order].astype(np.float64)
        sums = np.cumsum(mass), np.cumsum(x * mass), np.cumsum(x * x * mass)
        found, borders = numba_kmeans_1d_k_cluster(weight, k, MAX_ITER, *sums, 0, n, 0)
        centroids[row] = found
        for j in range(k):
            labels[row][order[borders[j] : borders[j + 1]]] = j
