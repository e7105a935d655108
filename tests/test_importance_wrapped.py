"""Wrapped models: the plain model's importances under the plain model's names."""

from __future__ import annotations

import copy
import os

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, Recurrent, assert_close, examples, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402

from wkmeans.importance import calibrate_temperature, estimate  # noqa: E402


@pytest.fixture(scope="module")
def group():
    """A process group of this process alone, for what cannot be without one."""
    if not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = {
    "compile": lambda m: torch.compile(m, backend="eager"),
    "compile, in place": lambda m: (m.compile(backend="eager"), m)[1],
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "compile of DataParallel": lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    "DDP": lambda m: nn.parallel.DistributedDataParallel(m),
}


@pytest.mark.filterwarnings("ignore:the cross-entropy falls")
@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize("build", [mlp, Recurrent])
def test_a_wrapper_does_not_show(group, kind, build):
    plain, (x, y) = build().double(), examples()
    wrapped = WRAPPERS[kind](copy.deepcopy(plain))
    for objective in ("fisher", "gradient"):
        expected = estimate(plain, [(x, y)], objective=objective)
        result = estimate(wrapped, [(x, y)], objective=objective)
        assert list(result) == list(expected)
        for name in expected:
            assert torch.equal(result[name][0], expected[name][0])
    assert calibrate_temperature(wrapped, [(x, y)], bounds=(1e-3, 1e3)) == pytest.approx(
        calibrate_temperature(plain, [(x, y)], bounds=(1e-3, 1e3))
    )


class Parts(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


@pytest.mark.parametrize("names", [None, ["first.weight"], lambda name, _: name == "first.weight"])
def test_wrappers_within(names):
    first, second = nn.Linear(6, 5).double(), nn.Linear(5, CLASSES).double()
    plain = Parts(first, second)
    partly = Parts(torch.compile(first, backend="eager"), nn.DataParallel(second))
    x = examples()[0]
    expected = estimate(plain, [x], objective="fisher", parameters=names)
    result = estimate(partly, [x], objective="fisher", parameters=names)
    assert list(result) == list(expected)
    for name in expected:
        assert torch.equal(result[name][0], expected[name][0])


class BaseTunerLayer(nn.Module):
    """As peft puts adapters around layers."""

    __module__, __qualname__ = "peft.tuners.tuners_utils", "BaseTunerLayer"

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer.requires_grad_(False)
        self.lora_A = nn.Linear(layer.in_features, 2, bias=False)
        self.lora_B = nn.Linear(2, layer.out_features, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


def test_adapters_keep_working_and_show_in_no_name():
    first, second = nn.Linear(6, 5), nn.Linear(5, CLASSES)
    net = Parts(BaseTunerLayer(first), BaseTunerLayer(second)).double()
    x, y = examples()
    adapted = estimate(net, [(x, y)], objective="gradient")
    assert list(adapted) == [
        f"{part}.lora_{which}.weight" for part in ("first", "second") for which in "AB"
    ]
    base = ["first.weight", "second.weight"]
    result = estimate(net, [(x, y)], objective="gradient", parameters=base)
    assert list(result) == base
    total = torch.zeros_like(second.weight)
    for i in range(len(x)):
        second.weight.requires_grad_()
        loss = nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        total += torch.autograd.grad(loss, second.weight)[0] ** 2
        second.weight.requires_grad_(False)
    assert_close(result["second.weight"][0], total / len(x))


def test_an_adapted_layer_by_itself_stays_adapted():
    net = BaseTunerLayer(nn.Linear(6, CLASSES)).double()
    x, y = examples()
    result = estimate(net, [(x, y)], objective="gradient", parameters=["lora_B.weight", "weight"])
    assert list(result) == ["weight", "lora_B.weight"]
    assert bool((result["lora_B.weight"][0] > 0).all())


def test_a_sharded_model_says_what_to_do(group):
    from torch.distributed.fsdp import FullyShardedDataParallel

    if not hasattr(torch.distributed.fsdp, "fully_shard"):
        pytest.skip("this torch has no fully_shard")
    os.environ.setdefault("LOCAL_RANK", "0")
    old = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    nn.Module.__init__(old)
    old._fsdp_wrapped_module = mlp()
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    new = torch.distributed.fsdp.fully_shard(mlp(), mesh=mesh)
    for net in (old, Parts(old, nn.Identity()), new):
        with pytest.raises(ValueError, match=r"shards over ranks.*all_reduce"):
            estimate(net, [examples(2, torch.float32)], objective="fisher")
