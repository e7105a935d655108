"""Large problems with few centroids: solved on buckets, and the same ones solved on all points."""

from __future__ import annotations

import numpy as np
import pytest
from routes import route_of, routed

from wkmeans import wkmeans

N = 300_000

WEIGHTS = {
    "heavy tails": lambda rng: 0.02 * rng.standard_t(5, N),
    "heavier tails": lambda rng: rng.standard_cauchy(N),
    "offset": lambda rng: 1e4 + 0.1 * rng.normal(size=N),
    "clumps": lambda rng: rng.choice([-1.0, 1.0, 3.0], N) + 1e-3 * rng.normal(size=N),
    "narrow clumps": lambda rng: rng.choice([-1.0, 1.0, 3.0], N) + 1e-9 * rng.normal(size=N),
    "few values": lambda rng: rng.choice(rng.normal(size=300), N),
    "many magnitudes": lambda rng: np.exp(rng.normal(0, 8, N)),
    "some far out": lambda rng: np.append(rng.normal(0, 1e-6, N - 3), [1e3, 1e6, -1e7]),
}
IMPORTANCES = {
    "none": lambda rng: None,
    "log-normal": lambda rng: np.exp(rng.normal(-8, 3, N)),
    "40 decades": lambda rng: 10.0 ** rng.uniform(-20, 20, N),
    "mostly zero": lambda rng: np.where(rng.random(N) < 0.9, 0.0, rng.random(N)),
}


def assert_optimal(weights, k, **importances):
    assert route_of(weights, k)["reading"] == "bucketed"
    bucketed = wkmeans(weights, k, **importances)
    with routed(reading="sorted"):
        sorted_ = wkmeans(weights, k, **importances)
    assert bucketed.cost == pytest.approx(sorted_.cost, rel=1e-9)
    assert bucketed.lower_bound <= sorted_.cost
    assert sorted_.lower_bound <= bucketed.cost
    assert bucketed.lower_bound >= bucketed.cost * (1 - 2e-9)


@pytest.mark.parametrize(
    ("family", "importance"),
    [
        *((family, "log-normal") for family in WEIGHTS if family != "narrow clumps"),
        *(("heavy tails", importance) for importance in IMPORTANCES if importance != "log-normal"),
        ("offset", "40 decades"),
        ("clumps", "40 decades"),
        ("narrow clumps", "none"),
    ],
)
def test_finds_the_optimum(family, importance):
    rng = np.random.default_rng(0)
    weights = WEIGHTS[family](rng)
    assert_optimal(weights, 12, importance=IMPORTANCES[importance](rng))


@pytest.mark.parametrize(
    ("family", "k"),
    [("heavy tails", 50), ("heavier tails", 2), ("some far out", 50), ("many magnitudes", 40)],
)
def test_finds_the_optimum_of_fourth_powers(family, k):
    rng = np.random.default_rng(1)
    weights = WEIGHTS[family](rng)
    importance = IMPORTANCES["log-normal"](rng)
    quartic = np.exp(rng.normal(-4, 3, N))
    assert_optimal(weights, k, importance=importance, quartic_importance=quartic)


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_gives_the_same_bits_for_every_number_of_threads(n_threads):
    rng = np.random.default_rng(2)
    weights = WEIGHTS["heavy tails"](rng).astype(np.float32)
    importance = IMPORTANCES["log-normal"](rng).astype(np.float32)
    one = wkmeans(weights, 16, importance=importance, n_threads=1)
    many = wkmeans(weights, 16, importance=importance, n_threads=n_threads)
    assert one.centroids.tobytes() == many.centroids.tobytes()
    assert one.labels.tobytes() == many.labels.tobytes()
    assert (one.cost, one.lower_bound) == (many.cost, many.lower_bound)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_names_a_bad_weight(bad):
    weights = np.zeros(N, np.float32)
    weights[N - 5] = bad
    with pytest.raises(ValueError, match=rf"weights: expected finite values.*index {N - 5}"):
        wkmeans(weights, 4)


def test_counts_each_weight_where_none_carries_importance():
    weights = WEIGHTS["heavy tails"](np.random.default_rng(3))
    unit = wkmeans(weights, 4)
    none = wkmeans(weights, 4, importance=np.zeros(N))
    np.testing.assert_array_equal(none.labels, unit.labels)
    assert none.cost == pytest.approx(unit.cost, rel=1e-12)
