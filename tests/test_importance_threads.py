"""The model is left exactly as it was: by threads, errors, and interruptions anywhere."""

from __future__ import annotations

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, Recurrent, examples, mlp  # noqa: E402
from interruptions import Interrupted, picture, settings  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans.importance import estimate, register_rule  # noqa: E402
from wkmeans.importance.first import tape  # noqa: E402


class Buffered(nn.Module):
    """Counts its calls in a buffer, in place and by putting another one there."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(1))
        self.inner = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES))

    def forward(self, x):
        self.calls += 1
        self.last = x.detach()
        return self.inner(x)


@pytest.mark.parametrize("build", [mlp, Recurrent, Buffered])
def test_threads_that_estimate_at_once(build):
    net, batches = build().double().eval(), [examples(4), examples(3)]
    before = picture(net)
    expected = estimate(net, batches, objective="fisher")

    def run(_):
        return estimate(net, batches, objective="fisher")

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(12)))
    assert picture(net) == before
    assert all(isinstance(p, nn.Parameter) for p in net.parameters())
    for result in results:
        for name in expected:
            assert torch.equal(result[name][0], expected[name][0])


def test_random_numbers_of_other_threads_are_not_the_models():
    net, stop = mlp().double(), threading.Event()

    def draw():
        while not stop.is_set():
            torch.randn(3)

    other = threading.Thread(target=draw)
    other.start()
    try:
        for _ in range(20):
            assert estimate(net, [examples(3)], objective="fisher").count == 3
    finally:
        stop.set()
        other.join()


def test_other_threads_models_wait_for_the_settings():
    """The process's own settings are back whenever no estimate is at work."""
    before, seen = settings(), []

    def batches():
        for _ in range(3):
            seen.append(settings())
            yield examples(2)

    estimate(mlp().double(), batches(), objective="gradient")
    assert seen == [before] * 3


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(CLASSES))

    def forward(self, x):
        return x * self.scale


@pytest.fixture
def lent_hooks():
    rule = register_rule(Scaled)
    rule(lambda module, inputs, delta: {"scale": delta * inputs[0]})
    yield
    tape._MODULE_RULES.pop(Scaled)


def traced(trace, net, batch):
    sys.settrace(trace)
    try:
        return estimate(net, [batch], objective="fisher")
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("share", [i / 40 for i in range(40)])
def test_an_interruption_anywhere_leaves_the_model_as_it_was(lent_hooks, share):
    net = nn.Sequential(Recurrent(), Scaled()).double().eval()
    batch = examples(2)
    before = picture(net)
    estimate(net, [batch], objective="fisher")  # what is imported or compiled once is
    whole = Interrupted(estimate)
    traced(whole, net, batch)
    filters = list(warnings.filters)
    with pytest.raises(KeyboardInterrupt):
        traced(Interrupted(estimate, 1 + int(share * (whole.lines - 5))), net, batch)
    warnings.filters[:] = filters
    assert picture(net) == before
    done = []
    other = threading.Thread(  # nor is the model kept from others
        target=lambda: done.append(estimate(net, [batch], objective="fisher")), daemon=True
    )
    other.start()
    other.join(60)
    assert done and done[0].count == 2


def test_an_error_in_the_model_leaves_it_as_it_was():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, CLASSES)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 3:
                raise RuntimeError("out of order")
            return self.layer(x)

    net = Fails()
    before = picture(net)
    with pytest.raises(RuntimeError, match="out of order"):
        estimate(net, [examples(2, torch.float32)] * 5, objective="fisher")
    assert picture(net) == before
