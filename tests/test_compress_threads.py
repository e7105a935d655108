"""`compress` reads and runs a model that other threads may want, and leaves it as it was."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from interruptions import Interrupted, picture  # noqa: E402
from torch import nn  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.importance import estimate  # noqa: E402


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5)).eval()


def batches() -> list[torch.Tensor]:
    return [torch.randn(10, 8, generator=torch.Generator().manual_seed(1))]


def compressed(net: nn.Module, **options) -> bytes:
    return wkmeans.compress(net, calibration=batches(), k=3, n_threads=1, **options).to_bytes()


def test_threads_that_compress_and_estimate_one_model_at_once():
    net = model()
    before = picture(net)
    tasks = [
        lambda: compressed(net),
        lambda: compressed(net, method="diagonal"),
        lambda: wkmeans.compress(net, k=3, n_threads=1).to_bytes(),
        lambda: estimate(net, batches(), objective="fisher")["0.weight"][0].numpy().tobytes(),
    ]
    expected = [task() for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: tasks[i % 4](), range(24)))
    assert picture(net) == before
    assert found == expected * 6


def test_what_runs_a_model_while_another_thread_waits_for_it():
    """A thread with the model may ask for it again; one that waits gets it, or is interrupted."""
    net, inside, other_done = model(), threading.Event(), threading.Event()

    def forward(module, value):
        inside.set()
        estimate(model(), batches(), objective="fisher")
        return module(value)

    def other():
        inside.wait(60)
        compressed(net)
        other_done.set()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    compressed(net, forward=forward)
    assert other_done.wait(60)


@contextmanager
def lent(net: nn.Module, until: threading.Event) -> Iterator[None]:
    """Another thread runs the model with its own tensors in it, at most until the event."""
    inside = threading.Event()

    def forward(module, value):
        inside.set()
        until.wait(0.3)  # where the model is locked, whatever would set it waits as well
        return module(value)

    thread = threading.Thread(
        target=lambda: estimate(net, batches(), objective="fisher", forward=forward)
    )
    thread.start()
    assert inside.wait(60)
    yield
    thread.join(60)


def test_what_evaluates_a_model_never_sees_what_another_thread_put_into_it():
    net, judged = model(), threading.Event()
    before, seen = picture(net), []

    def evaluate(judged_model):
        judged.set()
        seen.append(picture(judged_model)[1:])

    with ExitStack() as stack:
        wkmeans.compress(
            net,
            k=3,
            evaluate=evaluate,
            progress=lambda *_: stack.enter_context(lent(net, judged)) if not seen else None,
        )
    assert seen[0] == before[1:]


@pytest.mark.parametrize("change", ["parametrize", "read", "apply", "codes"])
def test_what_changes_a_model_waits_for_the_thread_that_has_it(change):
    net, changed = model(), threading.Event()
    small = wkmeans.compress(net, k=3)
    expected = small.apply_to(model())(batches()[0])
    if change == "read":
        small.parametrize(net)
    with lent(net, changed):
        if change == "parametrize":
            wkmeans.export.parametrize(net, {n: t for n, t in small.items() if hasattr(t, "k")})
        elif change == "read":
            assert small.tuned(net).to_bytes() == small.to_bytes()
        else:
            small.apply_to(net, keep_codes=change == "codes")
        changed.set()
    torch.testing.assert_close(net(batches()[0]), expected)
    assert all(isinstance(parameter, nn.Parameter) for parameter in net.parameters())


def traced(trace, net, method):
    sys.settrace(trace)
    try:
        return compressed(net, method=method)
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("method", ["matrix", "diagonal"])
def test_an_interruption_anywhere_leaves_the_model_as_it_was(method):
    net = model()
    before = picture(net)
    compressed(net, method=method)  # what is imported or compiled once is
    whole = Interrupted(wkmeans.compress)
    expected = traced(whole, net, method).hex()
    # Not the last lines: what a run keeps for the next spares that a few.
    for at in range(1, whole.lines * 9 // 10, whole.lines // 12):
        filters = list(warnings.filters)
        with pytest.raises(KeyboardInterrupt):
            traced(Interrupted(wkmeans.compress, at), net, method)
        warnings.filters[:] = filters
        assert picture(net) == before
    done = []
    other = threading.Thread(  # nor is the model kept from others
        target=lambda: done.append(compressed(net, method=method)), daemon=True
    )
    other.start()
    other.join(60)
    assert done and done[0].hex() == expected
