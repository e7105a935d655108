"""Modules within wrappers, buffers, extra state, ties: what a live model is beside its weights."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
for module in ("safetensors", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402


def network():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8))


class PartlyCompiled(nn.Module):
    """Wrappers within: a compiled block, and one that recomputes its activations."""

    def __init__(self):
        super().__init__()
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

        self.first = torch.compile(nn.Linear(12, 16), backend="eager")
        self.second = checkpoint_wrapper(nn.Linear(16, 8))


WRAPPERS = {
    "compile": lambda m: torch.compile(m, backend="eager"),
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "AveragedModel of DataParallel": lambda m: AveragedModel(nn.DataParallel(m)),
    "compile of DataParallel": lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
}


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert len(a) == len(b)
    for (name, value), other in zip(a.items(), b.values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapper_does_not_show_both_ways(kind, tmp_path):
    plain = network()
    wrapped = WRAPPERS[kind](copy.deepcopy(plain))
    compressed = wkmeans.compress(wrapped, k=4)
    assert list(compressed) == list(plain.state_dict())
    compressed.save(tmp_path / "small")
    loaded = wkmeans.load(tmp_path / "small")
    into_plain = loaded.apply_to(network())
    into_wrapped = loaded.apply_to(WRAPPERS[kind](network()))
    for name, tensor in compressed.state_dict().items():
        assert torch.equal(into_plain.state_dict()[name], tensor)
    same(into_wrapped, loaded.apply_to(WRAPPERS[kind](network())))
    inputs = torch.randn(3, 12)
    inner = into_wrapped
    while not isinstance(inner, nn.Sequential):
        inner = getattr(inner, "module", None) or inner._orig_mod
    assert torch.equal(inner(inputs), into_plain(inputs))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_wrappers_within_a_model_do_not_show():
    model = PartlyCompiled()
    compressed = wkmeans.compress(model, k=4)
    names = ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert list(compressed) == names
    compressed.apply_to(model)
    found = dict(zip(names, model.parameters(), strict=True))
    for name, tensor in compressed.state_dict().items():
        assert torch.equal(found[name], tensor)


def test_what_belongs_to_the_wrapper_is_left_out_and_said():
    compressed = wkmeans.compress(AveragedModel(network()), k=4)
    assert compressed.report().left_out == {
        "n_averaged": "belongs to the wrapper, not to the model"
    }


def test_a_layer_that_is_called_module_is_no_wrapper():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(16, 16)

    compressed = wkmeans.compress(Outer(), k=4)
    assert list(compressed) == ["module.weight", "module.bias"]
    compressed.apply_to(Outer())


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod."]
)
def test_a_checkpoint_of_a_wrapped_model_fits_the_plain_one(prefix):
    model = network()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    compressed = wkmeans.compress(state, k=4)
    assert list(compressed) == list(state)
    loaded = compressed.apply_to(network())
    for name, value in compressed.state_dict().items():
        assert torch.equal(loaded.state_dict()[name.removeprefix(prefix)], value)


def test_parametrize_looks_through_a_wrapper():
    wrapped = nn.DataParallel(network())
    compressed = wkmeans.compress(wrapped, k=4)
    compressed.parametrize(wrapped)
    assert wrapped.module[0].parametrizations.weight.original.shape == (1, 4)
    tuned = compressed.tuned(wrapped)
    for name, value in compressed.state_dict().items():
        assert torch.equal(tuned.state_dict()[name], value)


def test_importances_and_patterns_may_have_the_names_within_wrappers():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.DataParallel(network())

        def forward(self, x):
            return self.inner.module(x)

    batches = [(torch.randn(4, 12), torch.randint(8, (4,))) for _ in range(6)]
    for model in (Outer(), nn.DataParallel(Outer())):
        importances = wkmeans.importance.estimate(model, batches, objective="fisher")
        assert "inner.0.weight" in importances
        within = {n.replace("inner.", "inner.module."): importances[n][0] for n in importances}
        for given in (importances, within):
            compressed = wkmeans.compress(model, k=4, importances=given)
            assert compressed["inner.0.weight"].k == 4
        compressed = wkmeans.compress(model, k=4, exclude=["*module.2.weight"])
        assert compressed["inner.2.weight"].reason is not None
        wkmeans.compress(model, k=4, calibration=batches)


@pytest.fixture
def adapted():
    """A network under a low-rank adapter of another library."""
    peft = pytest.importorskip("peft", reason="needs peft: pip install --no-deps peft accelerate")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["0"], modules_to_save=["2"])
    return peft.get_peft_model(network(), config)


def test_an_adapter_is_looked_through_and_said(adapted, tmp_path):
    compressed = wkmeans.compress(adapted, k=4)
    assert list(compressed) == list(network().state_dict())
    assert any("lora_A" in name for name in compressed.left_out)
    assert set(compressed.left_out.values()) == {"belongs to the wrapper, not to the model"}
    compressed.apply_to(network())
    before = {n: p.clone() for n, p in adapted.named_parameters() if "lora" in n}
    compressed.apply_to(adapted)
    base = adapted.base_model.model[0].base_layer.weight
    assert torch.equal(base, compressed.state_dict()["0.weight"])
    for name, parameter in adapted.named_parameters():
        assert name not in before or torch.equal(parameter, before[name])


def test_codebooks_are_trained_beneath_wrappers():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.DataParallel(network())

    model = Outer()
    compressed = wkmeans.compress(model, k=4)
    assert "inner.0.weight" in compressed
    compressed.parametrize(model)
    assert model.inner.module[0].parametrizations.weight.original.shape == (1, 4)
    with torch.no_grad():
        model.inner.module[0].parametrizations.weight.original.mul_(2)
    tuned = compressed.tuned(model)["inner.0.weight"].dequantize()
    np.testing.assert_allclose(tuned, 2 * compressed["inner.0.weight"].dequantize(), rtol=1e-6)


def test_evaluate_gets_the_wrapped_model():
    seen = []
    wkmeans.compress(nn.DataParallel(network()), k=4, evaluate=lambda m: seen.append(type(m)))
    assert seen == [nn.DataParallel, nn.DataParallel]


# --- buffers and extra state ---


class WithState(nn.Module):
    def __init__(self, extra=None):
        super().__init__()
        self.layer = nn.Linear(16, 16)
        angles = torch.arange(32)[:, None] / 10 ** torch.linspace(0, 3, 16)
        self.register_buffer("positions", torch.sin(angles))
        self.register_buffer("mask", torch.full((16, 16), -torch.inf).triu(1))
        self.register_buffer("scratch", torch.zeros(16, 16), persistent=False)
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def test_buffers_stay_as_they_are():
    model = WithState()
    compressed = wkmeans.compress(model, bits=2)
    assert compressed["positions"].reason == compressed["mask"].reason == "a buffer"
    assert "scratch" not in compressed
    loaded = compressed.apply_to(WithState())
    assert torch.equal(loaded.positions, model.positions) and torch.equal(loaded.mask, model.mask)
    assert len(loaded.layer.weight.unique()) == 4


def test_a_buffer_is_compressed_where_it_is_asked_for():
    compressed = wkmeans.compress(WithState(), bits=2, include=["positions", "layer.weight"])
    assert compressed["positions"].k == 4
    assert compressed["mask"].reason == "not included"


@pytest.mark.parametrize("extra", [None, {"scale": 2.0}, io.BytesIO(b"fp8"), "text"])
@pytest.mark.parametrize("given", [lambda model: model, lambda model: model.state_dict()])
def test_extra_state_stops_no_model(extra, given, tmp_path):
    model = WithState(extra)
    compressed = wkmeans.compress(given(model), bits=2, include="layer.weight")
    reason = f"extra state, not a tensor ({type(extra).__name__})"
    assert compressed.left_out == {"_extra_state": reason}
    compressed.save(tmp_path / "small")
    loaded = wkmeans.load(tmp_path / "small")
    assert loaded.left_out == compressed.left_out
    assert loaded.apply_to(WithState("its own")).extra == "its own"


def test_extra_state_that_is_a_tensor_is_kept():
    extra = torch.arange(300, dtype=torch.uint8)
    loaded = wkmeans.compress(WithState(extra), bits=2).apply_to(WithState())
    assert torch.equal(loaded.extra, extra)


# --- loading ---


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(32, 16)
        self.head = nn.Linear(16, 32, bias=False)
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize("dropped", ["embedding.weight", "head.weight"])
def test_a_tied_parameter_is_loaded_under_any_of_its_names(dropped):
    state = Tied().state_dict()
    del state[dropped]
    compressed = wkmeans.compress({n: v.clone() for n, v in state.items()}, k=4)
    loaded = compressed.apply_to(Tied())
    assert loaded.head.weight is loaded.embedding.weight
    assert torch.equal(loaded.head.weight, next(iter(compressed.state_dict().values())))


def test_what_does_not_fit_changes_nothing():
    model = network()
    before = copy.deepcopy(model)
    state = {name: value.clone() for name, value in network().state_dict().items()}
    extra = {**state, "2.scale": torch.ones(8)}
    missing = {name: value for name, value in state.items() if name != "2.bias"}
    shaped = {**state, "2.weight": torch.randn(16, 8)}
    for wrong, message in (
        (extra, "unexpected '2.scale'"),
        (missing, "missing '2.bias'"),
        (shaped, r"'2.weight' has shape \[16, 8\], expected \[8, 16\]"),
    ):
        with pytest.raises(RuntimeError, match=message):
            wkmeans.compress(wrong, k=4).apply_to(model)
        same(model, before)


def test_a_parametrized_module_loads_its_own_state():
    def make():
        return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)))

    model = make()
    compressed = wkmeans.compress(model, k=8)
    loaded = compressed.apply_to(make())
    for name, value in compressed.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert np.isfinite(loaded(torch.ones(1, 16)).detach().numpy()).all()


def test_a_model_without_memory_is_not_loaded_into():
    compressed = wkmeans.compress(network(), k=4)
    with torch.device("meta"):
        model = network()
    with pytest.raises(RuntimeError, match=r"'0.weight' is on the meta device.*to_empty"):
        compressed.apply_to(model)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused_by_name():
    """Its tensors cannot be replaced while it runs."""
    scripted = torch.jit.script(nn.Linear(4, 3))
    with pytest.raises(TypeError, match=r"model: expected modules .*, got TorchScript; pass the"):
        wkmeans.importance.estimate(scripted, [torch.randn(5, 4)], objective="fisher")
    model = nn.Sequential(nn.Linear(4, 4), scripted).eval()
    with pytest.raises(TypeError, match=r"got TorchScript at '1'"):
        wkmeans.compress(model, calibration=[torch.randn(5, 4)], k=2)
