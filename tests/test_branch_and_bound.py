"""The optimal solver on more than 12k + 64 weights: branch and bound over a grid of cells.

The oracle is `cost_curve`, whose layers (up to 4096 weights) know nothing of cells, multipliers or
bounds, and which test_properties.py holds against the definition on a few dozen weights.
"""

from __future__ import annotations

import numpy as np
import pytest
from routes import routed

from wkmeans import cost_curve, wkmeans


def bounded(w, k, **options):
    """By branch and bound, also where squeezing would be quicker."""
    with routed(search="lagrangian"):
        return wkmeans(w, k, **options)


def few(k: int) -> int:
    """So many distinct weights are solved without cells."""
    return 12 * k + 64


WEIGHTS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-6, 6, n),
    "clumps": lambda rng, n: rng.choice([-1.0, 0.25, 1.0], n) + 1e-3 * rng.normal(size=n),
    "offset": lambda rng, n: 1e4 + 1e-3 * rng.normal(size=n),
    "ties": lambda rng, n: np.round(rng.normal(size=n), 3),
    "uniform": lambda rng, n: np.arange(n, dtype=np.float64),
    "zeros": lambda rng, n: rng.normal(size=n) * rng.choice([0.0, 1.0], n, p=[0.25, 0.75]),
}

IMPORTANCES = {
    "absent": lambda rng, n: None,
    "20 decades": lambda rng, n: 10.0 ** rng.uniform(-10, 10, n),
    "40 decades": lambda rng, n: 10.0 ** rng.uniform(-20, 20, n),
    "log-normal": lambda rng, n: np.exp(rng.normal(-8, 3, n)),
    "zeros": lambda rng, n: rng.exponential(size=n) * rng.choice([0.0, 1.0], n),
}


def drawn(rng, weights, importance, quartic, n):
    """Weights and the keywords of their importances."""
    return WEIGHTS[weights](rng, n), {
        "importance": IMPORTANCES[importance](rng, n),
        "quartic_importance": IMPORTANCES[quartic](rng, n) if quartic else None,
    }


def n_distinct(w, importances):
    """How many distinct weights carry importance."""
    I, H = importances["importance"], importances["quartic_importance"]
    carries = (np.ones(w.size) if I is None else I) + (0.0 if H is None else H) > 0
    return np.unique(w[carries]).size


@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_agrees_with_the_layers(weights, importance, quartic):
    rng = np.random.default_rng([*f"{weights} {importance} {quartic}".encode()])
    n_bounded = 0
    for n in (int(rng.integers(300, 400)), int(rng.integers(400, 1000)), 2000):
        family = (importance if importance != "absent" else "log-normal") if quartic else None
        w, importances = drawn(rng, weights, importance, family, n)
        k = int(rng.integers(2, min(48, (n - 65) // 12) + 1))
        optimum = cost_curve(w, k, **importances)[-1]
        result = bounded(w, k, **importances)
        assert result.cost == pytest.approx(optimum, rel=1e-9), f"n={n} k={k}"
        assert result.lower_bound <= optimum, f"n={n} k={k}"
        assert result.lower_bound >= optimum * (1 - 1e-8), f"n={n} k={k}"
        if n_distinct(w, importances) > few(k):
            n_bounded += 1
    assert n_bounded >= 1, "the family never reaches branch and bound"


@pytest.mark.parametrize("quartic", [None, "log-normal"])
def test_on_both_sides_of_the_threshold(quartic):
    rng = np.random.default_rng(1)
    for k in (2, 16, 31):
        for n in (few(k) - 1, few(k), few(k) + 1, few(k) + 2):
            w, importances = drawn(rng, "normal", "log-normal", quartic, n)
            result = bounded(w, k, **importances)
            assert result.n_iter >= 1
            assert result.cost == pytest.approx(cost_curve(w, k, **importances)[-1], rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("quartic", [None, "log-normal"])
def test_lower_precision(dtype, quartic):
    """The answer's centroids are rounded to single precision, the bound's are not."""
    rng = np.random.default_rng(2)
    w, importances = drawn(rng, "normal", "log-normal", quartic, 1500)
    w = w.astype(dtype)
    curve = cost_curve(w, 20, **importances)
    for k in (2, 7, 20):
        result = bounded(w, k, **importances)
        assert result.cost == pytest.approx(curve[k - 1], rel=1e-9)
        assert curve[k - 1] * (1 - 1e-8) <= result.lower_bound <= curve[k - 1]


def test_equal_gaps_leave_many_optima():
    """With k dividing n, evenly spaced weights have one optimum; otherwise very many that tie."""
    for n, k in ((1000, 10), (1000, 7), (997, 13), (1999, 24)):
        small, n_large = divmod(n, k)
        sizes = np.array([small + 1] * n_large + [small] * (k - n_large), np.float64)
        result = bounded(np.arange(n, dtype=np.float64), k)
        assert result.cost == pytest.approx(np.sum(sizes * (sizes**2 - 1)) / 12, rel=1e-12)


@pytest.mark.parametrize("quartic", [None, "log-normal"])
@pytest.mark.parametrize("k", [16, 64])
def test_threads(k, quartic):
    rng = np.random.default_rng(3)
    w, importances = drawn(rng, "normal", "log-normal", quartic, 200_000)

    def fields(n_threads):
        result = wkmeans(w, k, n_threads=n_threads, **importances)
        numbers = [result.cost, result.lower_bound, float(result.n_iter)]
        return [result.centroids.tobytes(), result.labels.tobytes(), np.array(numbers).tobytes()]

    alone = fields(1)
    for n_threads in (2, 3, 7):
        assert fields(n_threads) == alone, f"n_threads={n_threads}"


@pytest.mark.parametrize("quartic", [None, "log-normal"])
@pytest.mark.parametrize("weights", ["normal", "heavy tails", "clumps"])
def test_no_worse_than_lloyd(weights, quartic):
    rng = np.random.default_rng(4)
    w, importances = drawn(rng, weights, "log-normal", quartic, 20_000)
    for k in (3, 16, 64):
        result = wkmeans(w, k, **importances)
        assert result.n_iter >= 1
        assert result.cost * (1 - 1e-8) <= result.lower_bound <= result.cost
        for init in ("quantile", "linear", "kmeans++"):
            lloyd = wkmeans(w, k, solver="lloyd", init=init, **importances)
            assert result.cost <= lloyd.cost * (1 + 1e-12), init
            assert result.lower_bound <= lloyd.cost, init


@pytest.mark.parametrize("quartic", [False, True])
def test_as_many_centroids_as_weights(quartic):
    """One centroid less merges the cheapest neighbours; from n on nothing is left to pay."""
    rng = np.random.default_rng(5)
    n = 500
    w = np.sort(rng.normal(size=n))
    I = np.exp(rng.normal(-8, 3, n))
    H = np.exp(rng.normal(-4, 3, n)) if quartic else None
    pairs = [
        wkmeans(
            w[pair],
            1,
            importance=I[pair],
            quartic_importance=None if H is None else H[pair],
        )
        for pair in (slice(i, i + 2) for i in range(n - 1))
    ]
    answers = {k: wkmeans(w, k, importance=I, quartic_importance=H) for k in (n - 1, n, n + 1)}
    assert answers[n - 1].cost == pytest.approx(min(pair.cost for pair in pairs), rel=1e-9)
    assert answers[n].cost == answers[n + 1].cost == 0
    np.testing.assert_array_equal(answers[n].centroids, w)
    np.testing.assert_array_equal(answers[n + 1].centroids, [*w, w[-1]])
