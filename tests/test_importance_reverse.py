"""Backward passes by hand are autograd's, seed for seed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import assert_close, residual  # noqa: E402
from torch import nn  # noqa: E402
from torch.autograd.graph import get_gradient_edge  # noqa: E402

from wkmeans.importance import estimate  # noqa: E402
from wkmeans.importance.first import engine  # noqa: E402
from wkmeans.importance.first.reverse import UnknownOperationError, pull_back  # noqa: E402


class Branches(nn.Module):
    """Every operation with a rule, a sum of branches, and an input read twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2)
        self.norm = nn.BatchNorm2d(4).eval()
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.grouped = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.average = nn.AvgPool2d(2, ceil_mode=True)
        self.hidden = nn.Linear(4, 5, bias=False)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        self.points = [self.stem(x)]
        stem = torch.relu_(self.norm(self.points[0]))
        self.points.append(self.grouped(stem))
        joined = stem + torch.relu(self.points[1])
        self.points.append(self.up(self.pool(joined)))
        pooled = self.average(self.points[2]).mean((2, -1))
        self.points.append(self.hidden(pooled.unsqueeze(1)).squeeze(1))
        return self.head(torch.relu(self.points[3]))


def edges_of(net, inputs):
    outputs = net(inputs)
    return outputs, [get_gradient_edge(point) for point in net.points]


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_branches(n_seeds):
    net = Branches().double()
    outputs, edges = edges_of(net, torch.randn(4, 2, 9, 9).double())
    vectors = torch.randn(n_seeds, *outputs.shape).double()
    found = pull_back(outputs, edges, vectors)
    for position, vector in enumerate(vectors):
        expected = torch.autograd.grad(outputs, edges, vector, retain_graph=True)
        for mine, autograd in zip(found, expected, strict=True):
            assert_close(mine[position], autograd, rtol=1e-13)


def test_what_outputs_do_not_depend_on():
    x = torch.randn(2, 3, requires_grad=True)
    outputs, other = nn.Linear(3, 2)(x), nn.Linear(3, 2)(x)
    vectors = torch.ones(1, 2, 2)
    found = pull_back(outputs, [get_gradient_edge(other), get_gradient_edge(outputs)], vectors)
    assert found[0] is None
    assert torch.equal(found[1], vectors)


@pytest.mark.parametrize("operation", [
    nn.GELU(), nn.Softmax(-1), lambda x: x + x[:, :1], lambda x: torch.add(x, x, alpha=2),
    lambda x: x.roll(1, 1), nn.BatchNorm1d(3),
])  # fmt: skip
def test_an_unknown_operation_is_named(operation):
    point = nn.Linear(3, 3)(torch.randn(2, 3))
    outputs = operation(point)
    with pytest.raises(UnknownOperationError, match="Backward"):
        pull_back(outputs, [get_gradient_edge(point)], torch.ones(2, *outputs.shape))


def test_a_residual_network_goes_by_hand(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("autograd was asked to map over seeds")

    net = residual().double()
    batch = torch.randn(5, 6).double(), torch.randint(0, 4, (5,))
    expected = estimate(net, [batch], objective="fisher")
    plain = engine.gradients
    monkeypatch.setattr(
        engine, "gradients",
        lambda *a, **k: refused() if k.get("is_grads_batched") else plain(*a, **k),
    )  # fmt: skip
    found = estimate(net, [batch], objective="fisher")
    for name in expected:
        assert torch.equal(found[name][0], expected[name][0])


def test_hooks_on_tensors_leave_it_to_autograd():
    """A hook that changes a gradient is seen by the check of the first batch."""

    class Reversing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 3)

        def forward(self, x):
            hidden = self.first(x)
            if hidden.requires_grad:
                hidden.register_hook(lambda gradient: 3 * gradient)
            return self.second(hidden)

    net = Reversing().double()
    batch = torch.randn(5, 3).double(), torch.randint(0, 3, (5,))
    found = estimate(net, [batch], objective="gradient")
    assert found.methods["first.weight"] != "rules"
