"""Weights that multiply inputs: what a layer's rows and columns are, whatever module it is in."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="importance needs torch")

from torch import nn  # noqa: E402

from wkmeans.importance.first.engine import Engine  # noqa: E402
from wkmeans.importance.losses.losses import SquaredError  # noqa: E402
from wkmeans.importance.matrices.layers import deltas_of, inputs_of  # noqa: E402
from wkmeans.importance.matrices.moments import MomentSums  # noqa: E402
from wkmeans.importance.matrices.outputs import output_importances, output_products  # noqa: E402
from wkmeans.importance.model.batches import Inputs  # noqa: E402
from wkmeans.importance.model.functional import FunctionalModel  # noqa: E402


class Transposed(nn.Module):
    """GPT-2's Conv1D: inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 9))
        self.bias = nn.Parameter(torch.randn(9))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, 6), self.weight).reshape(*x.shape[:-1], 9)


CASES = {
    "linear": (nn.Linear(6, 9), (5, 6)),
    "linear over positions": (nn.Linear(6, 9), (5, 7, 6)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (5, 4, 11)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), padding="same", dilation=2), (5, 4, 8, 9)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, stride=2), (5, 4, 8, 9)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1), (5, 4, 6, 5)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (5, 4, 6, 5)),
    "conv3d": (nn.Conv3d(2, 3, 2, bias=False), (3, 2, 4, 4, 3)),
    "transposed matrix": (Transposed(), (5, 7, 6)),
}


def uses_of(module, x):
    model = FunctionalModel.of(module.eval(), None)
    outputs, uses, _ = Engine(model).run(Inputs((x,), x_slot()))
    return outputs, uses


def x_slot():
    from wkmeans.importance.model.batches import read_batch

    return read_batch(0, (torch.zeros(1, 1), None)).inputs.structure


@pytest.mark.parametrize("name", CASES)
def test_rows_times_inputs_are_the_outputs(name):
    module, shape = CASES[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    outputs, uses = uses_of(module, x)
    (use,) = uses
    found = inputs_of(use)
    matrices = found.layer.matrices(module.weight.detach())
    assert matrices.shape == (found.layer.groups, found.layer.outputs, found.layer.inputs)
    back = found.layer.restored(matrices, tuple(module.weight.shape))
    assert torch.equal(back, module.weight)
    products = torch.cat([matrices @ part for part in found.parts()], 2)
    # The same rearrangement of the outputs: what would be their derivatives.
    arranged = deltas_of(use, outputs.detach().reshape(1, *use.output_shape))[0]
    if module.bias is not None:
        arranged = arranged - module.bias.detach().reshape(*arranged.shape[:2], 1)
    torch.testing.assert_close(products, arranged, rtol=1e-4, atol=1e-4)


def test_attention_and_recurrent_projections_are_layers():
    module = nn.MultiheadAttention(8, 2, batch_first=True)

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = module

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    _, uses = uses_of(Self(), torch.randn(3, 5, 8))
    names = {found.layer.slot.name for use in uses if (found := inputs_of(use)) is not None}
    assert names == {"attention.in_proj_weight", "attention.out_proj.weight"}


def test_embeddings_and_norms_are_not():
    module = nn.Sequential(nn.Embedding(10, 6), nn.LayerNorm(6))
    model = FunctionalModel.of(module.eval(), None)
    ids = torch.randint(0, 10, (4, 7))
    _, uses, _ = Engine(model).run(Inputs((ids,), x_slot()))
    assert uses and all(inputs_of(use) is None for use in uses)


def test_moments_are_means_over_positions():
    conv = nn.Conv2d(4, 6, 3, groups=2, padding=1)
    x, y = torch.randn(2, 9, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    one, other = (inputs_of(uses_of(conv, v)[1][0]) for v in (x, y))
    a = nn.functional.unfold(x, 3, padding=1).movedim(1, 0).flatten(1).reshape(2, 18, -1).double()
    b = nn.functional.unfold(y, 3, padding=1).movedim(1, 0).flatten(1).reshape(2, 18, -1).double()
    n = a.shape[2]
    sums, same = MomentSums(), MomentSums()
    sums.add(one, other)
    same.add(one, one)
    found = sums.moments()
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.second, b @ b.mT / n, **close)
    torch.testing.assert_close(found.cross, a @ b.mT / n, **close)
    torch.testing.assert_close(found.first, b.mean(2), **close)
    torch.testing.assert_close(
        found.original_energy, (a @ a.mT / n).diagonal(0, 1, 2).sum(1), **close
    )
    torch.testing.assert_close(same.moments().cross, a @ a.mT / n, **close)
    a0, b0 = a - a.mean(2, True), b - b.mean(2, True)
    torch.testing.assert_close(found.centred().cross, a0 @ b0.mT / n, **close)
    torch.testing.assert_close(found.centred().second, b0 @ b0.mT / n, **close)


def test_some_positions_stand_for_all_and_pair():
    conv = nn.Conv2d(4, 6, 3, padding=1)
    x = torch.randn(6, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    one, other = (inputs_of(uses_of(conv, v)[1][0]) for v in (x, 2 * x))
    some, twice = (torch.cat(list(replace(v, most=20).parts()), 2) for v in (one, other))
    assert some.shape == (1, 36, 6 * 20)
    torch.testing.assert_close(2 * some, twice)
    everything = {tuple(v) for v in torch.cat(list(one.parts()), 2)[0].T.tolist()}
    assert {tuple(v) for v in some[0].T.tolist()} <= everything


def test_importances_of_outputs_are_squared_derivatives():
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 3))
    x = torch.randn(2000, 5)
    engine = Engine(FunctionalModel.of(module.eval(), None))
    found = output_importances(
        engine, [Inputs((x,), x_slot())], SquaredError(), ["0.weight", "2.weight"]
    )
    torch.testing.assert_close(found["2.weight"], torch.ones(1, 3, dtype=torch.float64))
    hidden = module[1](module[0](x)).detach()
    slopes = ((1 - hidden**2).unsqueeze(1) * module[2].weight.detach()).square().sum(1).mean(0)
    torch.testing.assert_close(
        found["0.weight"][0].float(), slopes, rtol=0.15, atol=0.02 * float(slopes.max())
    )


def test_products_of_derivatives_at_outputs():
    """With one output every probe is exact; of a convolution they are summed over positions."""
    torch.manual_seed(4)
    conv = nn.Conv1d(2, 3, 2)
    module = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.Linear(12, 1))
    x = torch.randn(30, 2, 5)
    engine = Engine(FunctionalModel.of(module.eval(), None))
    batches = [Inputs((part,), x_slot()) for part in x.split(7)]
    found = output_products(engine, batches, SquaredError(), 3)
    slopes = (1 - conv(x).detach().tanh() ** 2) * module[3].weight.detach().reshape(3, 4)
    expected = torch.einsum("eop,eqp->oq", slopes, slopes).double() / 30
    torch.testing.assert_close(found["0.weight"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["3.weight"], torch.ones(1, 1, dtype=torch.float64))
    assert set(output_products(engine, batches, SquaredError(), 2)) == {"3.weight"}


def test_products_at_outputs_of_a_weight_taken_two_ways_are_left_out():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4))
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            y = nn.functional.linear((x @ self.weight).relu(), self.weight)
            keys = y[:, 1:]
            return self.attention(y[:, :1], keys, keys, need_weights=False)[0]

    engine = Engine(FunctionalModel.of(Tied().eval(), None))
    batches = [Inputs((torch.randn(8, 3, 6),), x_slot())]
    found = output_products(engine, batches, SquaredError(), 100)
    assert set(found) == {"attention.out_proj.weight"}


def test_moments_of_inputs_whose_means_are_large():
    """Products in single precision keep what varies, and nothing varies in a constant."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) + 1000 * torch.arange(1, 7)
    linear = nn.Linear(6, 2)
    sums, still = MomentSums(), MomentSums()
    for part in x.split(7):
        one = inputs_of(uses_of(linear, part)[1][0])
        sums.add(one, one)
    constant = inputs_of(uses_of(linear, x[:1].expand(3, 6))[1][0])
    still.add(constant, constant)
    about = (x.double() - x.double().mean(0)).T
    exact = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(sums.moments().centred().second[0], about @ about.T / 40, **exact)
    torch.testing.assert_close(
        sums.moments().second[0], x.double().T @ x.double() / 40, rtol=1e-9, atol=0
    )
    assert not still.moments().centred().second.any()
