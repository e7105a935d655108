"""Ctrl-C during a call is heard within two seconds, while the kernels are still at work.

Every call here would go on for longer than that. The seconds are the processor's, of each thread,
so that what else runs on the machine does not count.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest

import wkmeans

SECONDS = 2.0

CALLS = {}


def long_call(function):
    CALLS[function.__name__] = function
    return function


def normal(n, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(n).astype(dtype)


def magnitudes(n):
    """Weights of either sign over most of what float64 holds."""
    rng = np.random.default_rng(0)
    return rng.choice([-1.0, 1.0], n) * np.exp(rng.uniform(-690, 690, n))


def layer_and_matrix():
    """Weights of a layer, and an importance matrix whose columns lean on each other."""
    inputs = normal(1300 * 1200, seed=1).reshape(1300, 1200)
    return normal(3000 * 1200).reshape(3000, 1200), inputs.T @ inputs


@long_call
def optimal(n_threads):
    w = normal(3_000_000)
    return lambda: wkmeans.wkmeans(w, 60_000, importance=w * w, n_threads=n_threads)


@long_call
def spaced_magnitudes(n_threads):
    w = magnitudes(400_000)
    return lambda: wkmeans.wkmeans(
        w, 4_000, quartic_importance=np.abs(normal(len(w))), n_threads=n_threads
    )


@long_call
def spaced_importances_beside_zero(n_threads):
    w = normal(3_000_000)
    return lambda: wkmeans.wkmeans(
        w,
        30_000,
        importance=np.exp(40 * normal(len(w), 1)),
        quartic_importance=np.full(len(w), 1e248),
        include_zero=True,
        n_threads=n_threads,
    )


@long_call
def many_clusters(n_threads):
    w = normal(3_000_000)
    return lambda: wkmeans.wkmeans(w, 60_000, quartic_importance=w * w, n_threads=n_threads)


@long_call
def a_format(n_threads):
    w = normal(3_000_000, dtype=np.float32)
    return lambda: wkmeans.wkmeans(
        w, 4_000, quartic_importance=w * w, centroid_dtype="float16", n_threads=n_threads
    )


@long_call
def rows(n_threads):
    w = np.broadcast_to(normal(4096), (200_000, 4096))
    return lambda: wkmeans.wkmeans(w, 16, axis=-1, n_threads=n_threads)


@long_call
def a_curve(n_threads):
    w = normal(60_000)
    return lambda: wkmeans.cost_curve(w, 30_000, n_threads=n_threads)


@long_call
def a_curve_of_few_points(n_threads):
    w = np.broadcast_to(normal(4000), (1000, 4000))
    return lambda: wkmeans.cost_curve(w, 2000, axis=-1, n_threads=n_threads)


@long_call
def lloyd(n_threads):
    w = np.broadcast_to(normal(4096), (200_000, 4096))  # one problem converges too soon
    return lambda: wkmeans.wkmeans(
        w, 256, axis=-1, solver="lloyd", init="linear", max_iter=10**9, n_threads=n_threads
    )


@long_call
def kmeans_plus_plus(n_threads):
    w = normal(2_000_000)
    return lambda: wkmeans.wkmeans(
        w, 65_536, solver="lloyd", init="kmeans++", seed=1, max_iter=10**9, n_threads=n_threads
    )


@long_call
def pruning(n_threads):
    w = np.broadcast_to(normal(64), (1 << 22, 64))
    return lambda: wkmeans.prune(
        w, 0.5, quartic_importance=np.ones(()), axis=-1, n_threads=n_threads
    )


@long_call
def pruning_by_pattern(n_threads):
    w = normal(1 << 22)
    return lambda: wkmeans.prune(w, pattern=(1, 1 << 20), n_threads=n_threads)


@long_call
def entropy_constrained(n_threads):
    w = normal(4_000_000)
    return lambda: wkmeans.entropy_constrained(
        w, k=30_000, multiplier=1e-9, importance=np.abs(w), n_threads=n_threads
    )


@long_call
def importance_matrix(n_threads):
    w, S = layer_and_matrix()
    return lambda: wkmeans.wkmeans(w, 16, importance_matrix=S, n_threads=n_threads)


@long_call
def importance_matrix_of_each_row(n_threads):
    w, S = layer_and_matrix()
    return lambda: wkmeans.wkmeans(w, 16, importance_matrix=S, axis=-1, n_threads=n_threads)


@long_call
def pruning_under_a_matrix(n_threads):
    w, S = layer_and_matrix()
    return lambda: wkmeans.prune(w, 0.5, importance_matrix=S, n_threads=n_threads)


@pytest.fixture
def interrupt_soon():
    """Sends this process SIGINT in half a second, unless the block ends before.

    Yields a list, to which it adds when that was, in the processor's seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone, and this test runs in another")

    @contextlib.contextmanager
    def armed():
        # What runs the tests in the background may have the signal ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        sent = []

        def send():
            sent.append(time.process_time())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(0.5, send)
        timer.start()
        try:
            yield sent
        finally:
            timer.cancel()
            signal.signal(signal.SIGINT, before)

    return armed


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("kind", CALLS)
def test_an_interrupt_is_heard(interrupt_soon, kind, n_threads):
    call = CALLS[kind](n_threads)
    with pytest.raises(KeyboardInterrupt), interrupt_soon() as sent:
        call()
    assert time.process_time() - sent[0] < SECONDS * n_threads


def test_a_handler_that_raises_nothing_changes_nothing():
    w = normal(40_000)
    expected = wkmeans.cost_curve(w, 60)
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(True))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        curve = wkmeans.cost_curve(w, 60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    np.testing.assert_array_equal(curve, expected)
    assert heard


def test_what_a_handler_raises_comes_out_of_the_call():
    class EnoughError(Exception):
        pass

    def raise_it(*_):
        raise EnoughError

    call = many_clusters(2)
    before = signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(EnoughError):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_other_threads_go_on_where_one_is_interrupted(interrupt_soon):
    w = normal(300_000)
    expected = wkmeans.wkmeans(w, 32)
    found = []
    stop = threading.Event()

    def solve():
        while not stop.is_set():
            found.append(wkmeans.wkmeans(w, 32, n_threads=1))

    thread = threading.Thread(target=solve)
    thread.start()
    try:
        call = many_clusters(1)
        with pytest.raises(KeyboardInterrupt), interrupt_soon():
            call()
    finally:
        stop.set()
        thread.join()
    for clustering in found:
        np.testing.assert_array_equal(clustering.centroids, expected.centroids)
