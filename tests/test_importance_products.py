"""The kernel of squared products against torch's own operations, and torch's against einsum."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from importance_oracle import assert_close, hessian_diagonal  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans import _core  # noqa: E402
from wkmeans.importance import estimate  # noqa: E402
from wkmeans.importance.first import products  # noqa: E402
from wkmeans.importance.first.contributions import Total, reduce, reduced  # noqa: E402
from wkmeans.importance.first.convolution import Geometry, Windows  # noqa: E402
from wkmeans.importance.first.products import KERNEL_REDUCTIONS, Held, Products  # noqa: E402
from wkmeans.importance.first.reductions import Reduction  # noqa: E402


@st.composite
def problems(draw):
    """Products with seeds on either side, as matrices or as the windows of a convolution."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    n_seeds, n, groups = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 2))
    rows, frames = draw(st.integers(1, 9)), draw(st.integers(1, 2))
    seeds_left = draw(st.booleans())
    of_left, of_right = (n_seeds, 1) if seeds_left else (1, n_seeds)
    if draw(st.booleans()):
        kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
        counts = (draw(st.integers(1, 6)), draw(st.integers(1, 4)))
        size = [(count - 1) * stride + (kernel - 1) * dilation + 1 for count in counts]
        values = torch.randn(of_right, n, frames, groups * 2, *size, dtype=torch.float64)
        right = Windows(values, Geometry.of((kernel, kernel), stride, dilation, groups), counts)
    else:
        positions = draw(st.sampled_from([1, 1, 2, 300]))
        right = Held(torch.randn(of_right, n, groups, draw(st.integers(1, 20)), positions).double())
    left = Held(torch.randn(of_left, n, groups, rows, right.shape[-1], dtype=torch.float64))
    signs = torch.randint(-1, 2, (n_seeds, n)).double() if draw(st.booleans()) else None
    reductions = KERNEL_REDUCTIONS if n_seeds > 1 else [Reduction.FIRST, Reduction.SECOND]
    shape = (groups * rows, right.shape[3])
    return Products(left, right, shape), signs, draw(st.sampled_from(reductions))


def total_of(products, signs, reduction):
    total = Total(torch.zeros(products.shape, dtype=torch.float64), 0.5)
    reduce([products], signs, reduction, total)
    return total.values


@given(problems())
def test_the_kernel_does_what_torch_does(problem):
    with pytest.MonkeyPatch.context() as patch:
        with_kernel = total_of(*problem)
        patch.setattr(products, "_has_kernel", lambda *_: False)
        torch.testing.assert_close(with_kernel, total_of(*problem), rtol=1e-11, atol=1e-12)


@given(problems())
def test_every_reduction_is_that_of_gradients_multiplied_out(problem):
    products, signs, _ = problem
    for reduction in Reduction if products.n_seeds > 1 else [Reduction.FIRST, Reduction.SECOND]:
        gradients = products.dense(slice(0, products.n_seeds), slice(0, products.n_examples))
        expected = 0.5 * reduced(gradients, signs, reduction)
        # Variances are what is left of sums of squares.
        size = 0.5 * float(reduced(gradients, None, Reduction.SECOND).max()) ** (
            reduction.degree / 2
        )
        torch.testing.assert_close(
            total_of(products, signs, reduction), expected, rtol=1e-9, atol=1e-10 * max(1.0, size)
        )


@given(problems())
def test_a_number_of_threads_changes_no_bit(problem):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = total_of(*problem)
        torch.set_num_threads(3)
        assert torch.equal(alone, total_of(*problem))
    finally:
        torch.set_num_threads(before)


class Matrices(nn.Module):
    """Products with raw parameters, whose seeds are on the right."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(3, 5))
        self.second = nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return torch.relu(x @ self.first) @ self.second


def saddle(outputs, targets):
    """Convex in some outputs alone: some of its seeds have negative weights."""
    signs = outputs.new_tensor([1.0, 1.0, -1.0, 0.5])
    return ((outputs - targets).square() * signs).sum(1) + outputs[:, 0] * outputs[:, 2]


@pytest.mark.parametrize("has_kernel", [True, False])
def test_signs_belong_to_the_side_that_has_the_seeds(monkeypatch, has_kernel):
    if not has_kernel:
        monkeypatch.setattr(products, "_has_kernel", lambda *_: False)
    torch.manual_seed(0)
    net = Matrices().double()
    inputs, targets = torch.randn(6, 3).double(), torch.randn(6, 4).double()
    found = estimate(net, [(inputs, targets)], loss=saddle)
    assert set(found.methods.values()) == {"gauss-newton, certified"}
    for name, parameter in net.named_parameters():
        diagonals = []
        for x, y in zip(inputs, targets, strict=True):
            (g,) = torch.autograd.grad(saddle(net(x[None]), y[None]), parameter, create_graph=True)
            diagonals.append(hessian_diagonal(g, parameter))
        assert any(bool((diagonal < 0).any()) for diagonal in diagonals)
        assert_close(found[name][1], torch.stack(diagonals).square().mean(0) / 4)


def test_what_does_not_fit_is_refused():
    left, right = np.ones((2, 3, 1, 4, 5)), np.ones((1, 3, 1, 6, 5))
    totals = np.zeros((4, 6))

    def add(left=left, right=right, signs=None, totals=totals, reduction="first"):
        _core.add_squared_products((left, 1), (right, 1), signs, reduction, 1.0, totals, 1)

    add()
    for wrong in (
        {"right": right[..., :4]},
        {"right": right[:, :2]},
        {"right": np.repeat(right, 2, axis=0)},
        {"right": right.astype(np.float32)},
        {"totals": np.zeros((4, 5))},
        {"totals": np.zeros((6, 4)).T},
        {"signs": np.ones((2, 2))},
        {"reduction": "third"},
    ):
        with pytest.raises(ValueError, match="expected"):
            add(**wrong)
    with pytest.raises(TypeError, match="float32 or float64"):
        add(left.astype(np.int64), right.astype(np.int64))
