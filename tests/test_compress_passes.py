"""What layers multiply in the original and in a network that changes, against forward hooks."""

from __future__ import annotations

import copy
import threading

import pytest

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

from wkmeans.compression.calibration import passes  # noqa: E402
from wkmeans.compression.calibration.passes import Passes, Plan  # noqa: E402
from wkmeans.importance.first.engine import Engine  # noqa: E402
from wkmeans.importance.model.batches import read_batch  # noqa: E402
from wkmeans.importance.model.functional import FunctionalModel  # noqa: E402


class Residual(nn.Module):
    """Two branches, and something noted in the module between layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.skip = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        self.noted = x
        y = self.first(x).relu()
        y = y + self.deep(y).relu()
        y = y + self.skip(self.noted)
        return self.head(y.mean((2, 3)))


class Fickle(nn.Module):
    """The order of its layers, and whether one of them is used, hang on the batch."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.rare, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        layers = (self.one, self.other) if float(x[0, 0]) > 0 else (self.other, self.one)
        for layer in layers:
            x = layer(x).tanh()
        return self.head(self.rare(x) if len(x) > 3 else x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(6, 10, bidirectional=True, batch_first=True)
        self.cell = nn.Linear(32, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        y, _ = self.layer(x)
        state = y.new_zeros(len(x), 12)
        for step in y.unbind(1):
            state = self.cell(torch.cat([step, state], 1)).tanh()
        return self.head(state)


class Uncopyable(Residual):
    def __deepcopy__(self, _):
        raise TypeError("not to be copied")


def image_batches():
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(n, 3, 6, 6, generator=generator) for n in (5, 4, 6)]


def signed_batches():
    generator = torch.Generator().manual_seed(3)
    batches = [torch.randn(n, 6, generator=generator) for n in (5, 4, 2, 6)]
    for batch, sign in zip(batches, (1, -1, 1, -1), strict=True):
        batch[0, 0] = sign
    return batches


def sequences():
    return [torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(4)) for _ in range(2)]


def opened(model, batches, **options):
    """The passes, and the names of the weights in the order of their first use."""
    inputs = [read_batch(i, b, needs_targets=False).inputs for i, b in enumerate(batches)]
    functional = FunctionalModel.of(model, None, options.pop("forward", None))
    uses = Engine(functional).run(inputs[0])[1]
    names = dict.fromkeys(name for use in uses if (name := passes.weight_of(use)))
    return Passes(functional, inputs, Plan.of(uses, len(inputs[0])), **options), list(names)


def walked(model, batches, **options):
    """Of each layer its inputs in both networks, by batch; each layer is doubled when it is met."""
    found = {}
    context, names = opened(model, batches, **options)
    with context as both:
        for name in names:
            found[name] = [
                tuple(torch.cat(list(x.parts()), 2) for x in pair) for pair in both.inputs_of(name)
            ]
            both.change({name: 2 * dict(model.named_parameters())[name]})
    assert not [t for t in threading.enumerate() if t.name == "wkmeans-walk"]
    return found


def hooked(model, name, batches, factor):
    """What a linear layer reads in each batch, once per use, other layers' weights changed."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for changed in factor:
            other.get_parameter(changed).mul_(2)
    read = []
    layer = other.get_submodule(name.rpartition(".")[0])
    layer.register_forward_hook(lambda _, args, __: read.append(args[0].detach()))
    with torch.no_grad():
        for batch in batches:
            other(batch)
    return read


def windows(layer, x):
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).T.unsqueeze(0)
    columns = nn.functional.unfold(x, layer.kernel_size, padding=layer.padding)
    return (
        columns.reshape(len(x), layer.groups, -1, columns.shape[2]).permute(1, 2, 0, 3).flatten(2)
    )


CASES = [(Residual, image_batches), (Fickle, signed_batches), (Recurrent, sequences)]


@pytest.mark.parametrize(("make", "batches"), CASES)
def test_layers_meet_what_the_changed_layers_before_them_give(make, batches):
    torch.manual_seed(0)
    model, batches = make().eval(), batches()
    found = walked(model, batches)
    done = []
    for name, pairs in found.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            for side, changed in enumerate(((), done)):
                expected = [windows(layer, x) for x in hooked(model, name, batches, changed)]
                got = [pair[side] for pair in pairs]
                torch.testing.assert_close(torch.cat(got, 2), torch.cat(expected, 2))
        done.append(name)
    assert len(found) >= 4


@pytest.mark.parametrize(("make", "batches"), CASES)
def test_the_same_bits_however_many_passes_are_held(monkeypatch, make, batches):
    torch.manual_seed(0)
    model, batches = make().eval(), batches()
    held = walked(model, batches)
    for most in (0, 1):
        monkeypatch.setattr(passes, "_MOST_HELD", most)
        found = walked(model, batches)
        for name, pairs in held.items():
            for one, other in zip(pairs, found[name], strict=True):
                assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_waits_is_bounded_where_it_waits(monkeypatch):
    torch.manual_seed(0)
    context, names = opened(Residual().eval(), image_batches())
    with context as both:
        monkeypatch.setattr(passes, "_HELD_BYTES", 70_000)
        held = {}
        for name in names:
            list(both.inputs_of(name))
            held[name] = len(both._walks)
    # An example has 2 * (3 + 8) * 36 * 4 bytes in a network; batches are of 5, 4 and 6.
    assert held == {"first.weight": 2, "deep.weight": 1, "skip.weight": 2, "head.weight": 3}


def test_a_model_that_cannot_be_copied_takes_a_pass_to_each_layer():
    torch.manual_seed(0)
    plain = Residual().eval()
    other = Uncopyable().eval()
    other.load_state_dict(plain.state_dict())
    expected, found = walked(plain, image_batches()), walked(other, image_batches())
    for name, pairs in expected.items():
        for one, two in zip(pairs, found[name], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_forward_that_holds_the_model_itself_is_seen():
    torch.manual_seed(0)
    model = Residual().eval()
    found = walked(model, image_batches(), forward=lambda _, x: model(x))
    expected = walked(model, image_batches())
    for name, pairs in expected.items():
        for one, two in zip(pairs, found[name], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_one_network_alone_is_met_once():
    torch.manual_seed(0)
    context, names = opened(Residual().eval(), image_batches(), changes=False)
    with context as alone:
        for name in names:
            assert all(x is y for x, y in alone.inputs_of(name))


class FailsForFour(Residual):
    def forward(self, x):
        if len(x) == 4:
            raise RuntimeError(f"four of {float(self.first(x).sum())}")
        return super().forward(x)


def test_errors_of_the_model_come_as_they_are():
    torch.manual_seed(0)
    context, names = opened(FailsForFour().eval(), image_batches())
    with pytest.raises(RuntimeError, match="four of"), context as both:
        for name in names:
            list(both.inputs_of(name))
    assert not [t for t in threading.enumerate() if t.name == "wkmeans-walk"]


def test_an_interruption_ends_the_walks():
    torch.manual_seed(0)
    context, names = opened(Residual().eval(), image_batches())
    with pytest.raises(KeyboardInterrupt), context as both:
        list(both.inputs_of(names[0]))
        raise KeyboardInterrupt
    assert not [t for t in threading.enumerate() if t.name == "wkmeans-walk"]


def test_walks_run_under_the_settings_of_who_asks():
    torch.manual_seed(0)
    model, batches = Residual().eval(), image_batches()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = walked(model, batches)["deep.weight"]
    plain = walked(model, batches)["deep.weight"]
    assert all(torch.equal(x, x.bfloat16().float()) for pair in halves for x in pair)
    assert not any(torch.equal(x, x.bfloat16().float()) for pair in plain for x in pair)
    with Threads() as modes:
        walked(model, batches)
    assert len(modes.seen) > 1


class Threads(TorchFunctionMode):
    """Notes which threads call torch under it."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_function__(self, function, _, args=(), kwargs=None):
        self.seen.add(threading.get_ident())
        return function(*args, **(kwargs or {}))
