"""`compress(calibration=, k=)`: numbers moved by what outputs say, labels as they were."""

from __future__ import annotations

import numpy as np
import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="calibration needs torch")

from correlated_layers import Mixed, correlated, relative_error  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans.compression.calibration.batches import read_inputs, shuffled  # noqa: E402
from wkmeans.compression.calibration.divergence import Judge  # noqa: E402
from wkmeans.compression.calibration.movable import MovableNetwork  # noqa: E402


def deep() -> nn.Module:
    """Layers enough for errors of one to become inputs of others, with vectors between."""
    torch.manual_seed(0)
    layers = [(nn.Linear(24, 24), nn.LayerNorm(24), nn.Tanh()) for _ in range(6)]
    return nn.Sequential(*(part for layer in layers for part in layer), nn.Linear(24, 5)).eval()


def partition(tensor) -> list[set[int]]:
    """Which weights are equal."""
    flat = tensor.labels.ravel()
    return sorted(map(set, (np.flatnonzero(flat == label) for label in np.unique(flat))), key=min)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_outputs_that_nothing_was_chosen_on_diverge_less(loss):
    x, unseen = correlated(400, 24), read_inputs([correlated(400, 24, seed=5)])
    options = {"calibration": [x], "loss": loss, "k": 4, "method": "matrix"}
    plain, tuned = (wkmeans.compress(deep(), tune=tune, **options) for tune in (False, True))
    judge = Judge(deep(), unseen, loss)
    before, after = (judge.divergence(c.state_dict()) for c in (plain, tuned))
    assert after < 0.9 * before
    tried = tuned.report().tried
    assert min(tried, key=tried.get).endswith(", tuned")
    assert not any(name.endswith(", tuned") for name in plain.report().tried)
    for name, tensor in plain.items():
        if isinstance(tensor, wkmeans.compression.CompressedTensor):
            assert partition(tuned[name]) == partition(tensor)
            assert tuned[name].nbytes == tensor.nbytes


@pytest.mark.parametrize(
    "options",
    [
        {"k": 4},
        {"k": 3, "granularity": "channel"},
        {"k": 3, "granularity": 10, "method": "auto"},
        {"k": 4, "channel_scales": True},
        {"k": 4, "density": 0.5},
    ],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_gradients_are_what_differences_say(options, loss):
    model = nn.Sequential(nn.Linear(48, 20), nn.Tanh(), nn.Linear(20, 6)).double().eval()
    x = correlated(30, 48).double()
    compressed = wkmeans.compress(
        model, calibration=[x], loss=loss, tune=False, **{"method": "matrix"} | options
    )
    inputs = read_inputs([x[:20], x[20:]])
    movable = MovableNetwork(model, loss, None, compressed, {"0.bias", "2.bias"})
    judge = Judge(model, inputs, loss)
    movable.derive(inputs)
    with torch.no_grad():
        outputs = model(x)
    weight = float(outputs.square().sum()) if loss == "mse" else len(x)
    assert len(movable.centroids) == len(movable.vectors) == 2
    for one in (*movable.centroids.values(), *movable.vectors.values()):
        gradient = one.moved.grad.flatten() / weight
        for place in {0, gradient.numel() // 2, int(gradient.abs().argmax())}:
            found = []
            for way in (2.0**-10, -(2.0**-10)):
                one.moved.view(-1)[place] = way
                found.append(judge.divergence(movable.tensors()))
            one.moved.zero_()
            slope = (found[0] - found[1]) / 2.0**-9
            if one.values.flatten()[place] == 0:
                assert gradient[place] == 0
            else:
                assert float(gradient[place]) == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_positions_that_a_mask_hides_have_no_part():
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table, self.head = nn.Embedding(40, 16), nn.Linear(16, 5)

        def forward(self, ids, attention_mask):
            return self.head(self.table(ids))

    ids = torch.randint(0, 20, (30, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    ids[:, 4:], mask[:, 4:] = 30, 0
    model = Tagger().eval()
    compressed = wkmeans.compress(
        model, calibration=[{"ids": ids, "attention_mask": mask}], k=3, tune=False
    )
    gradients = []
    for hidden in (30, 35):
        ids[:, 4:] = hidden
        movable = MovableNetwork(model, "cross_entropy", None, compressed, ["head.bias"])
        movable.derive(read_inputs([{"ids": ids, "attention_mask": mask}]))
        numbers = (*movable.centroids.values(), *movable.vectors.values())
        gradients.append([one.moved.grad for one in numbers])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"codebook_dtype": "float16"}, "float16"),
        ({"codebook_dtype": "int8"}, "int8"),
        ({"density": 0.4}, "float32"),
        ({"pattern": (2, 4)}, "float32"),
        ({"keep_zeros": True}, "float32"),
        ({"coding": "packed", "granularity": "channel"}, "float32"),
    ],
)
def test_a_file_is_as_it_was_asked_for(options, dtype):
    model, x = deep(), correlated(200, 24)
    with torch.no_grad():
        model[3].weight[model[3].weight.abs() < 0.02] = 0
    plain, tuned = (
        wkmeans.compress(model, calibration=[x], k=4, tune=tune, **options)
        for tune in (False, True)
    )
    tried = tuned.report().tried
    assert min(tried, key=tried.get).endswith(", tuned")
    for name, tensor in plain.items():
        other = tuned[name]
        assert other.nbytes == tensor.nbytes
        if isinstance(tensor, wkmeans.compression.CompressedTensor):
            assert other.codebook.dtype.name == dtype
            assert other.encoded.coding == tensor.encoded.coding
            assert ((other.dequantize() == 0) == (tensor.dequantize() == 0)).all()
        else:
            moves = bool(tensor.values.any())
            assert other.reason == tensor.reason + ("; tuned" if moves else "")


def test_nothing_of_the_model_changes_and_bits_are_the_same():
    model, x = deep(), correlated(100, 24)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    files = {
        wkmeans.compress(model, calibration=batches, k=4, n_threads=n).to_bytes()
        for n, batches in ((1, [x]), (2, [x]), (None, iter([x])))
    }
    assert len(files) == 1
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.grad is None
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_batches_of_one_example_are_as_good():
    x = correlated(60, 24)
    compressed = wkmeans.compress(deep(), calibration=list(x[:, None]), k=4, loss="mse")
    plain = wkmeans.compress(deep(), calibration=list(x[:, None]), k=4, loss="mse", tune=False)
    unseen = correlated(400, 24, seed=5)
    after, before = (relative_error(deep(), c, deep, unseen) for c in (compressed, plain))
    assert after < before


def test_shuffled_examples_are_all_of_them():
    batches = [torch.arange(7.0)[:, None], torch.arange(10.0, 41.0)[:, None]]
    generator = torch.Generator().manual_seed(0)
    parts = [one.tensors[0].flatten() for one in shuffled(read_inputs(batches), 4, generator)]
    assert max(map(len, parts)) == 4
    found = torch.cat(parts)
    everything = torch.cat(batches).flatten()
    assert found.tolist() != everything.tolist()
    assert sorted(found.tolist()) == everything.tolist()


def test_layers_of_every_kind_and_tied_weights():
    class Tied(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.back = nn.Linear(16, 30, bias=False)
            self.back.weight = self.table.weight

        def forward(self, ids):
            return self.back(self.table(ids)).mean(1)[:, :5] + super().forward(ids)

    ids = torch.randint(0, 30, (120, 10), generator=torch.Generator().manual_seed(2))
    compressed = wkmeans.compress(Tied().eval(), calibration=[ids], k=4, min_size=16)
    tried = compressed.report().tried
    assert min(tried, key=tried.get).endswith(", tuned")
    state = compressed.state_dict()
    assert torch.equal(state["table.weight"], state["back.weight"])


def test_gradients_of_an_embedding_may_be_sparse():
    def table(sparse):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Embedding(40, 16, sparse=sparse), nn.Flatten(), nn.LayerNorm(48), nn.Linear(48, 5)
        ).eval()

    ids = torch.randint(0, 40, (100, 3), generator=torch.Generator().manual_seed(2))
    states = [
        wkmeans.compress(table(sparse), calibration=[ids], k=4).state_dict()
        for sparse in (False, True)
    ]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-5)


class Within(nn.Module):
    """A network, a layer that nothing runs, and a buffer that multiplies."""

    def __init__(self, *, derived: bool) -> None:
        super().__init__()
        self.net, self.unused, self.derived = deep(), nn.Linear(24, 24), derived
        self.register_buffer("mixing", torch.randn(24, 24))

    def forward(self, x):
        with torch.set_grad_enabled(self.derived):
            return self.net(torch.tanh(x @ self.mixing))


@pytest.mark.parametrize(
    ("derived", "options"), [(False, {}), (True, {"include": "mixing"}), (True, {})]
)
def test_what_outputs_do_not_derive_from_stays(derived, options):
    model, x = Within(derived=derived).eval(), correlated(50, 24)
    plain, tuned = (
        wkmeans.compress(model, calibration=[x], k=3, tune=tune, **options)
        for tune in (False, True)
    )
    stays = [name for name in plain if not derived or options or name.startswith("unused")]
    for name in stays:
        assert torch.equal(plain.state_dict()[name], tuned.state_dict()[name])
    assert set(stays) >= {"unused.weight", "unused.bias"}


def test_half_precision_models_are_tuned_in_single_precision():
    model, x = deep().bfloat16(), correlated(200, 24).bfloat16()
    compressed = wkmeans.compress(model, calibration=[x], k=4)
    tried = compressed.report().tried
    assert min(tried, key=tried.get).endswith(", tuned")
    assert {t.dtype for t in compressed.values()} == {"bfloat16"}
    assert not torch.equal(compressed.state_dict()["0.bias"], model.state_dict()["0.bias"])
