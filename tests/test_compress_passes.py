"""What layers multiply in the original and in a network that changes, against forward hooks."""

from __future__ import annotations

import copy
import gc
from collections import deque

import pytest

torch = pytest.importorskip("torch", reason="calibration needs torch")

from passing_models import (  # noqa: E402
    HARD,
    Attention,
    Early,
    Fickle,
    Inferring,
    InPlace,
    Recurrent,
    Residual,
    Settings,
    Sparse,
    Unseen,
    Whimsical,
)
from torch import nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from wkmeans.compression.calibration import passes  # noqa: E402
from wkmeans.compression.calibration.passes import Passes, met_once  # noqa: E402
from wkmeans.importance.first.engine import Engine  # noqa: E402
from wkmeans.importance.model.batches import read_batch  # noqa: E402
from wkmeans.importance.model.functional import FunctionalModel  # noqa: E402


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
