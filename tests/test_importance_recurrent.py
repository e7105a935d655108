"""RNN, LSTM and GRU by rules: equal to a loop of plain autograd, whatever the model's shape."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, assert_close, brute_force, z_scores  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from wkmeans.importance import estimate  # noqa: E402
from wkmeans.importance.first import reverse  # noqa: E402

STEPS, WIDTH = 4, 3


def sequences(n=3):
    torch.manual_seed(5)
    return torch.randn(n, STEPS, 2, dtype=torch.float64), torch.randint(0, CLASSES, (n,))


class Net(nn.Module):
    """A head on a recurrent layer's outputs, on its last states, or on both."""

    def __init__(self, kind, use="last output", batch_first=True, **options):
        super().__init__()
        torch.manual_seed(0)
        self.use = use
        self.layer = kind(2, WIDTH, batch_first=batch_first, **options)
        directions = 2 if self.layer.bidirectional else 1
        size = directions * (options.get("proj_size") or WIDTH)
        if use == "everything":
            size += self.layer.num_layers * size * (2 if kind is nn.LSTM else 1)
        self.head = nn.Linear(size, CLASSES)

    def forward(self, x):
        values = x if self.layer.batch_first else x.transpose(0, 1)
        output, state = self.layer(values)
        output = output if self.layer.batch_first else output.transpose(0, 1)
        if self.use == "mean":
            return self.head(torch.relu_(output).mean(1))
        if self.use == "last output":
            return self.head(output[:, -1])
        states = state if isinstance(state, tuple) else (state,)
        last = [s.transpose(0, 1).flatten(1) for s in states]
        return self.head(torch.cat([output[:, 1], *last], 1))


class Normed(nn.Module):
    """Operations after the layer that no rule of a backward pass knows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.LSTM(2, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        found = self.head(self.layer(x)[1][0][-1])
        return found / (found.norm(dim=1, keepdim=True) + 1e-5) + found.sin() * found.exp()


class FromStates(nn.Module):
    """One layer's last states begin another, and a parameter of the model's begins the first."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.encoder, self.decoder = kind(2, WIDTH, batch_first=True), kind(2, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        start = self.start.expand(1, len(x), WIDTH).contiguous()
        start = (start, start.tanh()) if isinstance(self.encoder, nn.LSTM) else start
        _, state = self.encoder(x, start)
        return self.head(self.decoder(x.transpose(0, 1)[:2], state)[0][-1])


class Cells(nn.Module):
    """A loop of the user's own."""

    def __init__(self, kind, **options):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = kind(2, WIDTH, **options), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(2, WIDTH, batch_first=True), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        lengths = torch.full((len(x),), STEPS)
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        output, _ = pad_packed_sequence(self.layer(packed)[0], batch_first=True)
        return self.head(output.mean(1))


class Single(nn.Module):
    """The state's parameters alone are asked for, or those of the input."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(2, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.layer(x.transpose(0, 1))[0][-1])


NETS = {
    "lstm": lambda: Net(nn.LSTM),
    "gru": lambda: Net(nn.GRU),
    "tanh": lambda: Net(nn.RNN),
    "relu": lambda: Net(nn.RNN, nonlinearity="relu"),
    "lstm, stacked": lambda: Net(nn.LSTM, num_layers=3, use="everything"),
    "gru, stacked, both ways": lambda: Net(
        nn.GRU, num_layers=2, bidirectional=True, use="everything", batch_first=False
    ),
    "lstm, both ways, no bias": lambda: Net(
        nn.LSTM, bidirectional=True, bias=False, use="everything"
    ),
    "tanh, both ways, in place after": lambda: Net(nn.RNN, bidirectional=True, use="mean"),
    "gru, in place after": lambda: Net(nn.GRU, use="mean", batch_first=False, bias=False),
    "lstm from states": lambda: FromStates(nn.LSTM),
    "gru from states": lambda: FromStates(nn.GRU),
    "normed": Normed,
    "lstm cells": lambda: Cells(nn.LSTMCell),
    "gru cells": lambda: Cells(nn.GRUCell, bias=False),
    "tanh cells": lambda: Cells(nn.RNNCell),
    "relu cells": lambda: Cells(nn.RNNCell, nonlinearity="relu"),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("objective", ["fisher", "gradient"])
def test_rules_are_the_loop(name, objective):
    net, (x, y) = NETS[name]().double(), sequences()
    before = net(x)
    result = estimate(net, [(x, y)], objective=objective)
    assert torch.equal(net(x), before)
    truth = brute_force(net, x, y, objective)
    for parameter, (expected, _) in truth.items():
        if parameter != "start":  # no rule sees it: it is used by no layer
            assert result.methods[parameter] == "rules"
        assert_close(result[parameter][0], expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
@pytest.mark.parametrize("name", ["lstm", "gru", "tanh", "relu", "lstm, both ways, no bias"])
@pytest.mark.parametrize("objective", ["hessian", "gradient+hessian"])
def test_second_derivatives_are_the_loop(name, objective):
    net, (x, y) = NETS[name]().double(), sequences(2)
    result = estimate(net, [(x, y)], objective=objective)
    for parameter, (first, quartic) in brute_force(net, x, y, objective).items():
        if objective == "hessian":
            assert_close(result[parameter][0], first.clamp(min=0), rtol=1e-9)
        else:
            assert_close(result[parameter][0], first)
            assert_close(result[parameter][1], quartic, rtol=1e-9)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_batch_of_one_and_every_step_an_output(kind):
    net, (x, _) = kind(2, 3, batch_first=True, bidirectional=True).double(), sequences(1)

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = net

        def forward(self, x):
            return self.layer(x)[0]

    result = estimate(First(), [x], objective="fisher", loss="mse")
    expected = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for value in net(x)[0].flatten():
        gradients = torch.autograd.grad(value, list(net.parameters()), retain_graph=True)
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += gradient**2
    for name, total in expected.items():
        assert_close(result[f"layer.{name}"][0], total)
        assert result.methods[f"layer.{name}"] == "rules"


@pytest.mark.parametrize("build", [Packed, lambda: Net(nn.LSTM, proj_size=2)])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_what_the_rules_do_not_cover_is_torchs(build):
    net, (x, y) = build().double(), sequences()
    result = estimate(net, [(x, y)], objective="gradient")
    for parameter, (expected, _) in brute_force(net, x, y, "gradient").items():
        assert_close(result[parameter][0], expected)


@pytest.mark.parametrize(
    "names", [["layer.weight_hh_l0"], ["layer.bias_hh_l0"], ["layer.weight_ih_l0"]]
)
def test_one_parameter_alone(names):
    net, (x, y) = Single().double(), sequences()
    result = estimate(net, [(x, y)], objective="fisher", parameters=names)
    assert list(result) == names
    assert_close(result[names[0]][0], brute_force(net, x, y, "fisher")[names[0]][0])


@pytest.mark.slow
def test_probes_have_the_right_mean():
    net, (x, y) = NETS["gru, stacked, both ways"]().double(), sequences()
    runs = [estimate(net, [(x, y)], objective="fisher", probes=4, seed=seed) for seed in range(50)]
    for parameter, (expected, _) in brute_force(net, x, y, "fisher").items():
        scores = z_scores([run[parameter][0] for run in runs], expected)
        assert float(scores.max()) < 5.5


def test_many_seeds_go_back_together(monkeypatch):
    """Not one by one: the steps are gone through once for all of them."""
    seen = []
    original = reverse.pulled_back

    def spy(node, delta):
        seen.append(len(delta))
        return original(node, delta)

    monkeypatch.setitem(
        reverse._NODE_RULES, "_RecurrenceBackward", lambda node, delta, i, _: spy(node, delta)[i]
    )
    net, (x, y) = Normed().double(), sequences()
    estimate(net, [(x, y)], objective="fisher")
    assert seen.count(CLASSES - 1) == 2 and max(seen) == CLASSES - 1
