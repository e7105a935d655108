"""What goes wrong around a device: failures, interrupts, others' errors, values out of range."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import threading
import time

import cuda_device
import numpy as np
import pytest
from cuda_device import library, needs_device, needs_played_device, on_device

from wkmeans import cost_curve, prune, wkmeans

torch = pytest.importorskip("torch")


def tensors(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


LARGE = tensors(17_000)
ROWS = tensors(4, 300)
JOBS = {
    "rows": lambda: wkmeans(on_device(ROWS), 4, axis=1),
    "large": lambda: wkmeans(on_device(LARGE), 4, importance=on_device(LARGE.abs())),
    "lloyd": lambda: wkmeans(on_device(LARGE), 4, solver="lloyd", max_iter=3),
    "curve": lambda: cost_curve(on_device(LARGE), 2),
    "prune": lambda: prune(on_device(LARGE), 0.3),
    "prune rows": lambda: prune(on_device(ROWS), 0.3, axis=1),
    "pattern": lambda: prune(on_device(ROWS), pattern=(1, 3)),
    "together": lambda: prune({"a": on_device(LARGE), "b": on_device(ROWS)}, 0.2),
}
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def as_list(answer):
    """The parts of an answer that say all of it."""
    if isinstance(answer, torch.Tensor):
        return answer.cpu().tolist()
    if isinstance(answer, dict):
        return [as_list(mask) for mask in answer.values()]
    return [as_list(answer.labels), as_list(answer.centroids), np.asarray(answer.cost).tolist()]


def assert_allocated(n):
    if library.n_allocated() != n:
        gc.collect()
    assert library.n_allocated() == n


@needs_played_device
@each_job
def test_a_failure_anywhere_is_an_error_and_leaves_nothing_behind(job):
    expected = as_list(job())
    gc.collect()
    before = library.n_allocated()
    answer = None
    n_calls = n_failures = 0
    while answer is None:
        library.fail_after(n_calls)
        with contextlib.suppress(RuntimeError, torch.OutOfMemoryError):
            answer = as_list(job())
        library.fail_after(-1)
        library.last_error()
        assert_allocated(before)
        n_calls += 1 + n_calls // 8
        n_failures += 1
    assert n_failures > 5
    assert answer == expected


@needs_played_device
@each_job
def test_an_interrupt_is_heard_and_leaves_nothing_behind(job):
    def interrupt(*_):
        raise KeyboardInterrupt

    as_list(job())
    gc.collect()
    before = library.n_allocated()
    handler = signal.signal(signal.SIGALRM, interrupt)
    n_heard = 0
    try:
        for i in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (i + 1))
                as_list(job())
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_heard += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert n_heard > 0
    assert_allocated(before)


LONG_JOBS = {
    "rows": lambda: wkmeans(on_device(tensors(4000, 200)), 8, axis=1),
    "large": lambda: wkmeans(
        on_device(tensors(200_000)), 30_000, quartic_importance=on_device(tensors(200_000) ** 2)
    ),
    "format": lambda: wkmeans(
        on_device(tensors(400, 20_000)), 200, axis=1, centroid_dtype="float8_e4m3fn"
    ),
    "lloyd": lambda: wkmeans(
        on_device(tensors(240, 20_000)), 256, axis=1, solver="lloyd", init="linear", max_iter=10**9
    ),
    "curve": lambda: cost_curve(on_device(tensors(17_000)), 6000),
    "prune": lambda: prune({i: on_device(tensors(17_000)) for i in range(300)}, 0.2),
}


@needs_played_device
@pytest.mark.parametrize("job", LONG_JOBS.values(), ids=LONG_JOBS)
def test_an_interrupt_is_heard_within_two_seconds_of_the_processor(job):
    sent = []

    def interrupt(*_):
        raise KeyboardInterrupt

    def send():
        sent.append(time.process_time())
        os.kill(os.getpid(), signal.SIGALRM)

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = threading.Timer(0.3, send)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            job()
        assert time.process_time() - sent[0] < 2.0 * (os.cpu_count() or 1)
    finally:
        timer.cancel()
        signal.signal(signal.SIGALRM, handler)


@needs_played_device
@each_job
def test_an_error_that_others_left_is_not_ours(job):
    expected = as_list(job())
    library.leave_error()
    assert as_list(job()) == expected


@needs_played_device
@each_job
def test_the_weights_device_is_current_for_as_long_as_it_takes(job):
    library.exchange_device(0)  # another test's interrupt may have come before a guard's `try`
    job()
    assert library.device_of_last_launch() == cuda_device.DEVICE.index
    assert library.exchange_device(0) == 0


@needs_played_device
def test_of_both_variants_the_one_for_races_watches_memory():
    before = library.n_watched()
    prune(on_device(ROWS), 0.3).cpu()
    assert (library.n_watched() > before) == cuda_device.FINDS_RACES


@needs_device
@pytest.mark.parametrize("n", [3, 20_000])
@pytest.mark.parametrize("options", [{}, {"centroid_dtype": "float16"}, {"include_zero": True}])
def test_quartic_importances_of_zero_give_the_quadratic_answer(n, options):
    w = torch.zeros(n, dtype=torch.float64)
    w[-2:] = torch.tensor([1e80, 3e80], dtype=torch.float64)
    ones, zeros = on_device(torch.ones_like(w)), on_device(torch.zeros_like(w))
    expected = wkmeans(on_device(w), 2, **options)
    assert math.isfinite(expected.cost)
    assert expected.lower_bound <= expected.cost
    actual = wkmeans(on_device(w), 2, importance=ones, quartic_importance=zeros, **options)
    assert as_list(actual) == as_list(expected)
    # Nor do importances of zero count beside quartic ones, at distances whose square is infinite.
    nothing = wkmeans(on_device(w * 1e90), 3, importance=zeros, quartic_importance=ones)
    assert nothing.cost == 0


@needs_device
@pytest.mark.parametrize("n", [4, 20_000])
def test_a_cost_beyond_float64_is_infinite(n):
    w = torch.zeros(n, dtype=torch.float64)
    w[-3:] = torch.tensor([1e200, -3e200, 7e200], dtype=torch.float64)
    result = wkmeans(on_device(w), 2)
    assert result.cost == math.inf
    assert not math.isnan(result.lower_bound)


@needs_device
@pytest.mark.parametrize("n", [60, 20_000])
@pytest.mark.parametrize("importance", [None, 1.0])
def test_where_costs_overflow_answers_are_still_those_of_the_cpu(n, importance):
    rng = np.random.default_rng(n)
    w = torch.from_numpy(rng.standard_normal((2, n)))
    w[1] *= 1e3
    options = {"quartic_importance": torch.from_numpy(1e300 * rng.random((2, n)))}
    options["quartic_importance"][0] = 1.0  # a row among others that overflow is as ever
    if importance is not None:
        options["importance"] = torch.full((2, n), importance, dtype=torch.float64)
    on_cpu = wkmeans(w, 4, axis=1, **options)
    moved = {name: on_device(value) for name, value in options.items()}
    result = wkmeans(on_device(w), 4, axis=1, **moved)
    assert on_cpu.cost[1] == result.cost[1].cpu() == math.inf
    torch.testing.assert_close(result.cost.cpu(), on_cpu.cost, rtol=1e-9, atol=0)
    torch.testing.assert_close(result.centroids.cpu(), on_cpu.centroids, rtol=1e-7, atol=0)
    assert (result.lower_bound.cpu() <= result.cost.cpu()).all()


@needs_device
def test_zero_scores_of_huge_weights_are_pruned_first():
    w = torch.tensor([1e160, 1.0, 2.0, 1e100], dtype=torch.float64)
    I = torch.tensor([0, 1, 1, 0], dtype=torch.float64)
    for options in ({"density": 0.5}, {"pattern": (2, 4)}):
        mask = prune(on_device(w), importance=on_device(I), **options)
        assert mask.cpu().tolist() == [False, True, True, False]
        H = on_device(torch.zeros_like(w))
        mask = prune(on_device(w), importance=on_device(I), quartic_importance=H, **options)
        assert mask.cpu().tolist() == [False, True, True, False]


@needs_device
@pytest.mark.parametrize(("n", "n_different"), [(17_332, 8_839), (40_000, 16_384)])
def test_kmeans_plus_plus_draws_from_as_many_weights_as_it_says(n, n_different):
    w = (torch.arange(n) % n_different).double()
    options = {"solver": "lloyd", "init": "kmeans++", "seed": 1, "max_iter": 3}
    actual, expected = wkmeans(on_device(w), 4, **options), wkmeans(w, 4, **options)
    assert actual.labels.cpu().tolist() == expected.labels.tolist()
    np.testing.assert_allclose(actual.cost, expected.cost, rtol=1e-9)


@needs_device
def test_more_items_than_are_numbered_are_refused():
    from wkmeans import _cuda

    queue = _cuda.Queue(0, lambda size: pytest.fail("memory for what is refused"))
    batch = _cuda.Batch(1, 2**32, _cuda.Operand(0, "float32", 0, 0), None, None)
    too_many = pytest.raises(
        ValueError, match=r"weights: expected at most 4294967295 in.* got 4294967296"
    )
    with too_many:
        _cuda.prune(queue, batch, 7, 0)
    with too_many:
        _cuda.prune_together(queue, [batch], 7, [0])
    with too_many:
        _cuda.prune_pattern(queue, batch, 2**31, 2**32, 0)
    with too_many:
        _cuda.cost_curve(queue, batch, 2, False, "float64", 1, 0)
    options = _cuda.ClusterOptions(
        k=2,
        solver="optimal",
        init="quantile",
        given_centroids=[],
        max_iter=1,
        seed=0,
        certify=False,
        centroid_format="float64",
        optimal_in_format=False,
        include_zero=False,
        n_threads=1,
    )
    with too_many:
        _cuda.cluster(queue, batch, options, _cuda.Results(0, 0, "uint8", 0, 0, 0, 0))
