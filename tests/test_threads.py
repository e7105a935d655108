"""The number of threads never changes a bit of a result."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from wkmeans import cost_curve, prune, wkmeans

THREADS = [2, 3, 7, None]


def data(*shape):
    rng = np.random.default_rng(sum(shape))
    w = (0.02 * rng.standard_t(5, shape)).astype(np.float32)
    I = np.exp(rng.normal(-8, 3, shape)).astype(np.float32)
    H = np.exp(rng.normal(-4, 3, shape)).astype(np.float32)
    return w, I, H


def fields(result):
    return [
        None if x is None else np.asarray(x).tobytes()
        for x in (
            result.centroids,
            result.labels,
            result.cost,
            result.lower_bound,
            result.n_iter,
        )
    ]


def same_for_every_count(call):
    expected = call(1)
    for n_threads in THREADS:
        assert call(n_threads) == expected, f"n_threads={n_threads}"


@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize(
    ("solver", "shape", "axis", "k"),
    [
        ("lloyd", (300_001,), None, 16),
        ("lloyd", (300_001,), None, 257),
        ("lloyd", (257, 129), 1, 8),
        ("lloyd", (129, 257), 0, 8),
        ("optimal", (20_001,), None, 16),
        ("optimal", (257, 129), 1, 8),
        ("optimal", (5, 2049), 1, 16),
    ],
)
def test_clustering(solver, shape, axis, k, quartic):
    w, I, H = data(*shape)

    def call(n_threads):
        return fields(
            wkmeans(
                w,
                k,
                importance=I,
                quartic_importance=H if quartic else None,
                solver=solver,
                axis=axis,
                max_iter=10,
                n_threads=n_threads,
            )
        )

    same_for_every_count(call)


@pytest.mark.parametrize("init", ["quantile", "linear", "kmeans++"])
def test_inits(init):
    w, I, _ = data(200_003)

    def call(n_threads):
        return fields(
            wkmeans(w, 8, importance=I, solver="lloyd", init=init, max_iter=2, n_threads=n_threads)
        )

    same_for_every_count(call)


def test_cost_curve():
    w, I, H = data(11, 301)

    def call(n_threads):
        options = {"importance": I, "quartic_importance": H, "axis": 1, "n_threads": n_threads}
        return cost_curve(w, 6, **options).tobytes()

    same_for_every_count(call)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_pruning(axis):
    w, I, H = data(601, 503)
    w = np.round(w, 2)  # thousands of ties at the threshold

    def call(n_threads):
        return prune(
            w, 0.3, importance=I, quartic_importance=H, axis=axis, n_threads=n_threads
        ).tobytes()

    same_for_every_count(call)


def test_pruning_a_mapping():
    w, I, _ = data(300_001)
    cuts = [5, 100_000, 100_001]
    weights, importance = (dict(enumerate(np.split(x, cuts))) for x in (np.round(w, 2), I))

    def call(n_threads):
        masks = prune(weights, 0.25, importance=importance, n_threads=n_threads)
        return [m.tobytes() for m in masks.values()]

    same_for_every_count(call)


def test_the_environment_is_honoured():
    """OMP_NUM_THREADS=1 must leave a process with the one thread it has."""
    script = """
import numpy as np, os, threading, wkmeans
w = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
most, stop = 0, threading.Event()
def watch():
    global most
    while not stop.is_set():
        most = max(most, len(os.listdir("/proc/self/task")))
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
before = len(os.listdir("/proc/self/task"))
for _ in range(5):
    wkmeans.wkmeans(w, 64, solver="lloyd", max_iter=3)
stop.set()
watcher.join()
print(most - before)
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("threads are counted in /proc")
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(run.stdout) == 0


@pytest.mark.parametrize("n_threads", [0, -1])
def test_counts_that_cannot_be(n_threads):
    for call in (
        lambda: wkmeans([1.0, 2.0], 1, n_threads=n_threads),
        lambda: prune([1.0, 2.0], 0.5, n_threads=n_threads),
        lambda: cost_curve([1.0, 2.0], 1, n_threads=n_threads),
    ):
        with pytest.raises(ValueError, match="n_threads"):
            call()
