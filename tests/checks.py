"""What must hold for every clustering, and how far a correct answer may be from the oracle's."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import oracle
from strategies import Problem

CENTROID_DTYPES = {
    np.dtype(np.float16): np.float32,
    np.dtype(np.float32): np.float32,
    np.dtype(np.float64): np.float64,
}


def underflow(problem: Problem) -> Decimal:
    """Costs below this are made of terms that float64 cannot hold to full precision."""
    I, H = oracle.importances(*problem.data)
    return Decimal(1e-300 * problem.weights.size * float(1 + I.max() + H.max()))


def assert_close(actual, expected, *, rtol: float, atol=0) -> None:
    """``|actual - expected| <= rtol |expected| + atol``, in decimals."""
    actual, expected = Decimal(float(actual)), Decimal(expected)
    error, allowed = abs(actual - expected), Decimal(rtol) * abs(expected) + Decimal(atol)
    assert error <= allowed, f"{actual:.17g} is {error:.3g} from {expected:.17g}"


def label_dtype(k: int) -> type:
    return np.uint8 if k <= 2**8 else np.uint16


def assert_valid(problem: Problem, result) -> None:
    """The contract's promises about one row, whichever solver answered."""
    w, k = problem.weights, problem.k
    assert result.centroids.shape == (k,)
    assert result.centroids.dtype == CENTROID_DTYPES[w.dtype]
    assert np.all(result.centroids[:-1] <= result.centroids[1:]), "centroids ascend"
    assert result.labels.shape == w.shape
    assert result.labels.dtype == label_dtype(k)
    np.testing.assert_array_equal(result.labels, oracle.nearest_labels(w, result.centroids))
    cost = oracle.direct_cost(*problem.data, result.centroids, result.labels)
    assert_close(result.cost, cost, rtol=1e-12, atol=underflow(problem))


def assert_optimal(problem: Problem, result) -> None:
    """No real centroids do better, and rounded ones should do no worse.

    The best centroids of a partition, rounded to the dtype of the answer, are always at hand. Where
    several partitions tie as real numbers any of them may have been rounded, so the partition that
    was returned is as good a yardstick as the oracle's, provided it is optimal.
    """
    optimum = oracle.optimal(*problem.data, problem.k)
    dtype = result.centroids.dtype.type
    within = Decimal(1 + 1e-9)

    attainable = oracle.rounded_cost(optimum.clusters, dtype)
    returned = oracle.partition(*problem.data, result.labels)
    own = sum(oracle.cost_about(c, oracle.best_centroid(c)) for c in returned)
    if own <= optimum.cost * within:
        attainable = max(attainable, oracle.rounded_cost(returned, dtype))

    cost, floor = Decimal(float(result.cost)), underflow(problem)
    assert cost >= optimum.cost * Decimal(1 - 1e-12) - floor
    assert cost <= attainable * within + floor, (
        f"{cost:.17g} is not {attainable:.17g}: {cost / max(attainable, floor) - 1:.3g} too much"
    )
    assert result.lower_bound is not None
    assert Decimal(float(result.lower_bound)) <= max(optimum.cost, floor), "a false certificate"
