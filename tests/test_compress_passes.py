"""What layers multiply in the original and in a network that changes, against forward hooks."""

from __future__ import annotations

import copy
import gc
from collections import deque

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from wkmeans.compression.calibration import passes  # noqa: E402
from wkmeans.compression.calibration.passes import Passes, met_once  # noqa: E402
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


class Attention(nn.Module):
    """Residuals around attention, and a loop over what it gives."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(6, 24), nn.Linear(24, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        x = x + self.narrow(self.wide(x).relu())
        total = 0
        for step in x.transpose(0, 1):
            total = total + step
        return self.head(total)


class InPlace(nn.Module):
    """Later layers write to what earlier ones gave, and one needs more room than the others."""

    def __init__(self):
        super().__init__()
        self.first, self.deep = nn.Linear(6, 6), nn.Linear(6, 6)
        self.wide, self.narrow = nn.Linear(6, 60), nn.Linear(60, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x).relu_()
        y += self.deep(y)
        y[:, 0] = 1
        z = self.wide(y)
        y += z[:, :6]
        return self.head(y + self.narrow(z))


class Cube(torch.autograd.Function):
    """What no mode of torch's functions sees."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, delta):
        return 3 * ctx.saved_tensors[0] ** 2 * delta


class Unseen(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = Cube.apply(self.first(x))
        return self.head(y + self.deep(y).tanh())


class Early(nn.Module):
    """A weight is looked at before its layer, and matters after it."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x)
        scale = self.deep.weight.detach().abs().mean()
        return self.head(self.deep(y).tanh() * scale)


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x).relu().to_sparse()
        z = self.deep(y.to_dense()).tanh()
        return self.head(z + y.to_dense())


class Inferring(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x)
        with torch.inference_mode():
            largest = y.detach().abs().max()
        z = self.deep(y / float(largest)).tanh()
        return self.head(z * float(largest))


class Whimsical(nn.Module):
    """Every pass asks torch for something else."""

    passes = 0

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        self.passes += 1
        y = self.first(x)
        y = y.abs() if self.passes % 2 else y.square().sqrt()
        return self.head(self.deep(y.round(decimals=2)).tanh())


class Settings(nn.Module):
    """What it computes hangs on what it has set."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        was_enabled = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            y = self.deep(self.first(x).tanh())
            return self.head(y if torch.is_grad_enabled() else y.relu())
        finally:
            torch.set_grad_enabled(was_enabled)


class Plain(nn.Module):
    """Four layers, for what may go on around them."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.more = (nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(6, 3)
        self.memory = torch.zeros(8, 6)


class Shared(Plain):
    """Writes through memory that NumPy has as well."""

    def forward(self, x):
        y = self.first(x).detach()
        y.numpy()[...] += 1
        z = self.deep(y)
        y.numpy()[...] *= 2
        return self.head(self.more(z + y) + y)


class Given(Plain):
    """NumPy's memory, of which torch is given a view."""

    def forward(self, x):
        values = np.zeros((len(x), 6), dtype=np.float32)
        y = torch.from_numpy(values)
        y.copy_(self.first(x).detach())
        values += 1
        z = self.deep(y)
        return self.head(self.more(z + y) + y)


class Seeded(Plain):
    """Noise of its own, the same in every pass."""

    def forward(self, x):
        generator = torch.Generator().manual_seed(0)
        y = self.first(x) + torch.rand(6, generator=generator)
        z = self.deep(y) + torch.rand(6, generator=generator)
        return self.head(self.more(z) + torch.rand(6, generator=generator))


class Forked(Plain):
    def forward(self, x):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            y = self.first(x) + torch.rand(6)
            return self.head(self.more(self.deep(y) + torch.rand(6)) + torch.rand(6))


class Remembering(Plain):
    """Reads what was written before in the same pass to a tensor that outlasts it."""

    def forward(self, x):
        self.memory[: len(x)] = self.first(x).detach()
        y = self.more(self.deep(x).tanh() + self.memory[: len(x)])
        return self.head(y + self.memory[: len(x)])


class Stacking(Plain):
    """Weights within a list are looked at before their layers."""

    def forward(self, x):
        weight = torch.stack([self.deep.weight, self.more.weight]).mean(0)
        y = (self.first(x) * weight[0]).relu()
        return self.head(self.more(self.deep(y)).tanh() * weight[1])


class Largest(Plain):
    """What it takes from a weight, before its layer, comes in a tuple."""

    def forward(self, x):
        scale = self.deep.weight.max(1).values
        return self.head(self.more(self.deep(self.first(x) * scale)).tanh() * scale)


class Listed(Plain):
    """What it takes from a weight, before its layer, is no tensor."""

    def forward(self, x):
        scale = self.deep.weight.tolist()[0][0]
        return self.head(self.more(self.deep(self.first(x) * scale)).tanh() * scale)


class Shifted(Plain):
    def forward(self, x):
        scale = self.deep.bias.exp()
        return self.head(self.more(self.deep(self.first(x) * scale)).tanh() * scale)


class Adding(Plain):
    """A weight is looked at by what writes to a tensor that is held."""

    def forward(self, x):
        y = self.first(x)
        y.addmm_(x, self.deep.weight)
        return self.head(self.more(self.deep(y) + y) + y)


UNSEEN = torch.jit.CompilationUnit("""
def add_one_(x):
    return x.add_(1.0)

def bounded(x):
    return x.tanh()
""")


class Scripted(Plain):
    """Its functions, one that writes and one of a weight, no mode sees."""

    def forward(self, x):
        scale = UNSEEN.bounded(self.deep.weight)[0]
        y = self.first(x) * scale
        UNSEEN.add_one_(y)
        return self.head(self.more(self.deep(y) + y) + y)


class Uncounted(Plain):
    """Writes that a tensor does not count; the last layer but one is not always met."""

    def forward(self, x):
        y = self.first(x)
        z = self.deep(y)
        y.data.mul_(z)
        return self.head((self.more(z) if len(x) == 5 else z) + y)


class Deriving(Plain):
    """Derives by something that was there before its layers."""

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.deep(self.first(x).tanh())
            x.requires_grad_()
            (delta,) = torch.autograd.grad(y.square().sum() + (x**3).sum(), x)
        return self.head(self.more(delta))


class Scaled(torch.Tensor):
    """Notes in an attribute what it was before."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func is torch.Tensor.tanh:
            result.scale = float(args[0].detach().as_subclass(torch.Tensor).abs().max())
        return result


class Subclass(Plain):
    def forward(self, x):
        y = self.first(x).as_subclass(Scaled).tanh()
        scale = getattr(y, "scale", 1.0)
        y = y.as_subclass(torch.Tensor)
        return self.head(self.more(self.deep(y) * scale + y) * scale)


class Mapped(Plain):
    def forward(self, x):
        scale = torch.vmap(torch.norm)(self.deep.weight)
        return self.head(self.more(self.deep(self.first(x) * scale)) * scale)


HARD = [
    *(Shared, Given, Seeded, Forked, Remembering, Stacking, Largest, Listed, Shifted, Adding),
    *(Scripted, Uncounted, Deriving, Subclass, Mapped),
]


def image_batches():
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(n, 3, 6, 6, generator=generator) for n in (5, 4, 6)]


def signed_batches():
    generator = torch.Generator().manual_seed(3)
    batches = [torch.randn(n, 6, generator=generator) for n in (5, 4, 2, 6)]
    for batch, sign in zip(batches, (1, -1, 1, -1), strict=True):
        batch[0, 0] = sign
    return batches


def vectors():
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(n, 6, generator=generator) for n in (5, 4, 6)]


def sequences():
    return [torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(4)) for _ in range(2)]


PLENTY = 2**26
NOTHING = -1  # not even what takes no memory


def weights_of(uses):
    return list(dict.fromkeys(name for use in uses if (name := passes.weight_of(use))))


def opened(model, batches, most_bytes=PLENTY, **options):
    """The passes, and the names of the weights in the order of their first use."""
    inputs = [read_batch(i, b, needs_targets=False).inputs for i, b in enumerate(batches)]
    functional = FunctionalModel.of(model, None, options.pop("forward", None))
    uses = Engine(functional).run(inputs[0])[1]
    names = options.pop("names", None) or weights_of(uses)
    once = met_once(uses) or names
    return Passes(functional, inputs, names, once, most_bytes, **options), names


def walked(model, batches, *, with_biases=False, **options):
    """Of each layer its inputs in both networks, by batch; each layer is doubled when it is met."""
    found = {}
    parameters = dict(model.named_parameters())
    both, names = opened(model, batches, **options)
    for name in names:
        found[name] = [
            tuple(torch.cat(list(x.parts()), 2) for x in pair) for pair in both.inputs_of(name)
        ]
        both.change({name: 2 * parameters[name]})
        if with_biases:
            bias = name.replace("weight", "bias")
            both.change({bias: 2 * parameters[bias]})
    return found


def hooked(model, name, batches, factor):
    """What a linear layer reads in each batch, once per use, other layers' weights changed."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for changed in factor:
            other.get_parameter(changed).mul_(2)
    read = []
    layer = other.get_submodule(name.rpartition(".")[0])
    layer.register_forward_hook(lambda _, args, __: read.append(args[0].detach().clone()))
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


CASES = [
    (Residual, image_batches),
    (Fickle, signed_batches),
    (Recurrent, sequences),
    (Attention, sequences),
    (InPlace, vectors),
    (Unseen, vectors),
    (Early, vectors),
    (Sparse, vectors),
    (Inferring, vectors),
    (Whimsical, vectors),
]


@pytest.mark.parametrize(("make", "batches"), CASES)
def test_layers_meet_what_the_changed_layers_before_them_give(make, batches):
    torch.manual_seed(0)
    model, batches = make().eval(), batches()
    found = walked(model, batches)
    done = []
    for name, pairs in found.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and not name.startswith("attend"):
            for side, changed in enumerate(((), done)):
                expected = [windows(layer, x) for x in hooked(model, name, batches, changed)]
                got = [pair[side] for pair in pairs]
                torch.testing.assert_close(torch.cat(got, 2), torch.cat(expected, 2))
        done.append(name)
    assert len(found) >= 3


@pytest.mark.parametrize(("make", "batches"), CASES)
def test_the_same_bits_whatever_is_held(make, batches):
    torch.manual_seed(0)
    model, batches = make().eval(), batches()
    expected = walked(model, batches, most_bytes=NOTHING)
    for most_bytes in (0, 300, 1000, 3000, 10_000, PLENTY):
        same_bits(walked(model, batches, most_bytes=most_bytes), expected)


@pytest.mark.parametrize("make", HARD)
def test_the_same_bits_where_values_go_other_ways(make):
    """Each layer's weight and bias change, whatever else they are used for."""
    torch.manual_seed(0)
    model, batches = make().eval(), vectors()
    expected = walked(copy.deepcopy(model), batches, most_bytes=NOTHING, with_biases=True)
    for most_bytes in (0, 150, 300, 700, PLENTY):
        same_bits(walked(model, batches, most_bytes=most_bytes, with_biases=True), expected)


def test_settings_are_made_again():
    torch.manual_seed(0)
    names = ["first.weight", "deep.weight", "head.weight"]
    model, batches = Settings().eval(), vectors()
    expected = walked(model, batches, most_bytes=NOTHING, names=names)
    same_bits(walked(model, batches, names=names), expected)
    assert all((x >= 0).all() for pair in expected["head.weight"] for x in pair)
    assert torch.is_grad_enabled()


def same_bits(found, expected):
    for name, pairs in expected.items():
        for one, other in zip(pairs, found[name], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Convolutions(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, _, args=(), kwargs=None):
        self.count += function is torch.ops.aten.convolution.default
        return function(*args, **(kwargs or {}))


def test_a_layer_is_computed_to_be_recorded_and_to_go_on_but_not_for_later_ones():
    torch.manual_seed(0)
    model, batches = Residual().eval(), image_batches()
    counts = {}
    for most_bytes in (PLENTY, 0):
        context, names = opened(model, batches, most_bytes)
        counts[most_bytes] = []
        for name in names:
            with Convolutions() as seen:
                list(context.inputs_of(name))
            counts[most_bytes].append(seen.count / (2 * len(batches)))
    assert counts == {PLENTY: [1, 2, 2, 1], 0: [1, 2, 3, 3]}


@pytest.mark.parametrize("most_bytes", [0, 20_000, 60_000, PLENTY])
def test_no_more_is_held_than_there_is_room_for(most_bytes):
    torch.manual_seed(0)
    model, batches = Residual().eval(), image_batches()
    both, names = opened(model, batches, most_bytes)
    gc.collect()
    gc.freeze()  # what there is now is not listed
    held = []
    try:
        for name in names:
            deque(both.inputs_of(name), maxlen=0)
            held.append(held_bytes())
            assert held[-1] == both.nbytes
    finally:
        gc.unfreeze()
    assert max(held) <= most_bytes
    assert (max(held) > 0) == (most_bytes > 0)
    if most_bytes == PLENTY:  # what is not held any more is what ReLU and the sums have read
        image, mean = (4 * 2 * sum(map(len, batches)) * values for values in (8 * 36, 8))
        assert held == [0, image, image, image + mean]


def held_bytes():
    """Of all tensors with values that there are now but that were not before."""
    gc.collect()
    tensors = {
        id(each): each
        for holder in gc.get_objects()
        for each in (holder, *gc.get_referents(holder))
        if type(each) is torch.Tensor and not each.is_meta and each.numel() > 1
    }
    memories = [tensor.untyped_storage() for tensor in tensors.values()]
    return sum({memory.data_ptr(): memory.nbytes() for memory in memories}.values())


def test_a_forward_that_holds_the_model_itself_is_seen():
    torch.manual_seed(0)
    model = Residual().eval()
    found = walked(model, image_batches(), forward=lambda _, x: model(x))
    same_bits(found, walked(model, image_batches()))


def test_one_network_alone_is_met_once():
    torch.manual_seed(0)
    alone, names = opened(Residual().eval(), image_batches(), changes=False)
    for name in names:
        assert all(x is y for x, y in alone.inputs_of(name))


class FailsForFour(Residual):
    def forward(self, x):
        if len(x) == 4:
            raise RuntimeError(f"four of {float(self.first(x).sum())}")
        return super().forward(x)


def test_errors_of_the_model_come_as_they_are():
    torch.manual_seed(0)
    both, names = opened(FailsForFour().eval(), image_batches())
    with pytest.raises(RuntimeError, match="four of"):
        for name in names:
            list(both.inputs_of(name))


def test_passes_run_under_the_settings_of_who_asks():
    torch.manual_seed(0)
    model, batches = Residual().eval(), image_batches()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = walked(model, batches)["deep.weight"]
    plain = walked(model, batches)["deep.weight"]
    assert all(torch.equal(x, x.bfloat16().float()) for pair in halves for x in pair)
    assert not any(torch.equal(x, x.bfloat16().float()) for pair in plain for x in pair)
