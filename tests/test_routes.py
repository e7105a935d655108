"""Which way a problem goes from its items to its report, and that every way gives its optimum."""

from __future__ import annotations

import numpy as np
import pytest
from routes import route_of, routed

from wkmeans import _core, entropy_constrained, wkmeans


def zeros(n, dtype=np.float32):
    return np.broadcast_to(np.zeros(1, dtype), n)


@pytest.mark.parametrize(
    ("n", "dtype", "k", "options", "reading"),
    [
        (10**6, np.float32, 16, {}, "bucketed"),
        (10**6, np.float64, 16, {}, "bucketed"),
        (10**6, np.float32, 64, {}, "bucketed"),
        (10**6, np.float32, 65, {}, "sorted"),  # most buckets would hold a boundary
        (10**6, np.float32, 1, {}, "sorted"),  # there is no boundary
        (16383, np.float32, 2, {}, "sorted"),
        (16384, np.float32, 2, {}, "bucketed"),
        (10**6, np.float32, 16, {"solver": "lloyd"}, "sorted"),
        (10**6, np.float32, 16, {"include_zero": True}, "sorted"),
        (10**6, np.float32, 16, {"optimal_in_format": True}, "sorted"),
        (10**6, np.float64, 16, {"optimal_in_format": True}, "sorted"),
        (10**6, np.float16, 16, {}, "counted"),
        (65535, np.float16, 256, {}, "sorted"),
        (65536, np.float16, 256, {"solver": "lloyd"}, "counted"),
    ],
)
def test_readings(n, dtype, k, options, reading):
    assert route_of(zeros(n, dtype), k, **options)["reading"] == reading


def test_free_centroids_asked_for_by_name_are_free():
    """An explicit "float64" is no grid: buckets and squeezing serve it as they serve None."""
    asked = {"centroid_format": "float64", "optimal_in_format": True}
    assert route_of(zeros(10**6, np.float64), 16, **asked)["reading"] == "bucketed"
    assert route_of(zeros(4096), 16, **asked)["search"] == "squeeze"


@pytest.mark.parametrize(
    ("n", "k", "options", "search"),
    [
        (4096, 16, {}, "squeeze"),
        (2**14, 16, {}, "squeeze"),
        (2**14 + 1, 16, {}, "lagrangian"),
        (4096, 17, {}, "lagrangian"),
        (4096, 16, {"include_zero": True}, "lagrangian"),
        (4096, 16, {"optimal_in_format": True}, "lagrangian"),
        (4096, 16, {"solver": "lloyd"}, "lloyd"),
    ],
)
def test_searches(n, k, options, search):
    assert route_of(zeros(n), k, **options)["search"] == search


def test_threads():
    many = {"axis": 1, "n_threads": 8}
    assert route_of(zeros((2, 4096)), 16, **many)["problems_at_once"]
    assert not route_of(zeros((2, 2**17)), 16, **many)["problems_at_once"]
    assert route_of(zeros((32, 2**17)), 16, **many)["problems_at_once"]
    assert not route_of(zeros((1, 4096)), 16, **many)["problems_at_once"]
    assert not route_of(zeros(4096), 16)["threads_of_a_problem"]
    assert route_of(zeros(2**16), 1, quartic=True)["threads_of_a_problem"]
    assert not route_of(zeros(2**16), 1)["threads_of_a_problem"]


@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize(
    "way",
    [
        {"reading": "bucketed"},
        {"reading": "sorted"},
        {"search": "squeeze"},
        {"search": "lagrangian"},
        {"search": "layers"},
    ],
    ids=lambda way: "-".join(way.values()),
)
def test_every_way_finds_the_optimum(way, quartic):
    rng = np.random.default_rng(0)
    w = rng.standard_t(5, 3000)
    options = {"importance": np.exp(rng.normal(-8, 3, w.size))}
    if quartic:
        options["quartic_importance"] = np.exp(rng.normal(-4, 3, w.size))
    best = wkmeans(w, 8, **options)
    with routed(**way):
        found = wkmeans(w, 8, **options)
    assert found.cost == pytest.approx(best.cost, rel=1e-9)
    assert found.cost * (1 - 1e-8) <= found.lower_bound <= best.cost


def test_few_halves_can_be_counted():
    w = np.random.default_rng(1).normal(size=500).astype(np.float16)
    with routed(reading="counted"):
        counted = wkmeans(w, 5)
    with routed(reading="sorted"):
        sorted_ = wkmeans(w, 5)
    np.testing.assert_array_equal(counted.labels, sorted_.labels)
    assert counted.cost == pytest.approx(sorted_.cost, rel=1e-12)


@pytest.mark.parametrize(
    ("way", "options", "message"),
    [
        ({"reading": "counted"}, {}, "half precision"),
        ({"reading": "bucketed"}, {"include_zero": True}, "free centroids"),
        ({"reading": "bucketed"}, {"solver": "lloyd"}, "optimal solver"),
        ({"search": "squeeze"}, {"centroid_dtype": "float16"}, "free centroids"),
        ({"reading": "guessed"}, {}, "guessed"),
        ({"search": "guessed"}, {}, "guessed"),
    ],
)
def test_impossible_ways_are_refused(way, options, message):
    with routed(**way), pytest.raises(ValueError, match=message):
        wkmeans(np.arange(10.0, dtype=np.float32), 2, **options)


def test_entropy_constrained_starts_from_buckets(monkeypatch):
    """Its starts are optimal free codebooks, whose large problems need no sort."""
    taken = []
    cluster = _core.cluster

    def noting(problems, options, label_dtype):
        taken.append(_core.route_of(problems, options)["reading"])
        return cluster(problems, options, label_dtype)

    monkeypatch.setattr(_core, "cluster", noting)
    w = np.random.default_rng(2).normal(size=20_000).astype(np.float32)
    entropy_constrained(w, k=4, multiplier=1e-3, max_iter=2)
    assert taken
    assert "bucketed" in taken
