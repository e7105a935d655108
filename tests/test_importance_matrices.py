"""Whole importance matrices of a model: against brute force, merged, saved, and of use."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="importance needs torch")

from torch import nn  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.importance import ImportanceMatrices, estimate_matrices  # noqa: E402
from wkmeans.importance.first.convolution import Geometry, Windows  # noqa: E402
from wkmeans.importance.first.products import Held  # noqa: E402
from wkmeans.importance.first.tape import Slot  # noqa: E402
from wkmeans.importance.matrices.layers import Layer, LayerInput  # noqa: E402


class Transposed(nn.Module):
    """GPT-2's Conv1D: inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, 5), self.weight).reshape(*x.shape[:-1], 4)


LAYERS = {
    "linear": (nn.Linear(5, 4), (3, 5)),
    "linear over positions": (nn.Linear(5, 4), (3, 2, 5)),
    "conv": (nn.Conv2d(2, 3, (3, 2), padding=1, dilation=2), (3, 2, 5, 4)),
    "strided": (nn.Conv1d(2, 3, 3, stride=2), (3, 2, 9)),
    "grouped": (nn.Conv2d(4, 6, 2, groups=2), (3, 4, 3, 3)),
    "depthwise": (nn.Conv2d(3, 6, 2, groups=3, stride=2), (3, 3, 4, 4)),
    "inputs first": (Transposed(), (3, 2, 5)),
}


def rows_of(tensor, layer):
    """``(groups, outputs, inputs)`` of what has the weight's shape."""
    if isinstance(layer, Transposed):
        return tensor.T.unsqueeze(0)
    return tensor.reshape(getattr(layer, "groups", 1), -1, tensor[0].numel())


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_of_a_single_layer_is_fishers_own(name):
    """Under squared error: every output's gradient, multiplied out with itself."""
    layer, shape = LAYERS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = estimate_matrices(layer, [x[:2], x[2:]], loss="mse")
    assert found.methods == {"weight": "exact"} and found.count == 3
    matrix, outputs, is_transposed = found["weight"]
    assert is_transposed == (name == "inputs first")
    n = x.shape[0]
    expected = 0.0
    scale = None
    for example in x.split(1):
        y = layer(example)
        scale = 1 / y.numel()  # the mean over one example's outputs
        for value in y.flatten():
            (gradient,) = torch.autograd.grad(value, layer.weight, retain_graph=True)
            rows = rows_of(gradient.double(), layer)
            expected = expected + rows.unsqueeze(3) * rows.unsqueeze(2) / n
    product = outputs[:, :, None, None] * matrix[:, None]
    ratio = product.sum() / expected.sum()
    assert ratio == pytest.approx(1.0, rel=1e-5) or ratio == pytest.approx(scale, rel=1e-5)
    torch.testing.assert_close(product, ratio * expected, rtol=1e-5, atol=1e-7)
    diagonal = torch.einsum("goii->goi", product)
    torch.testing.assert_close(rows_of(found.diagonals()["weight"], layer), diagonal)


class Summed(nn.Module):
    """One output an example, so that a probe is its gradient."""

    def __init__(self, inner, take) -> None:
        super().__init__()
        self.inner, self.take = inner, take

    def forward(self, x):
        y = self.take(self.inner, x).flatten(1)
        return (torch.sin(y) * torch.arange(1.0, y.shape[1] + 1)).sum(1, keepdim=True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent_layers(kind, batch_first):
    torch.manual_seed(2)
    layer = kind(3, 4, batch_first=batch_first).eval()

    def take(module, x):
        y = module(x if batch_first else x.transpose(0, 1))[0]
        return y if batch_first else y.transpose(0, 1)

    x = torch.randn(6, 5, 3)
    found = estimate_matrices(Summed(layer, take), [x[:2], x[2:]], loss="mse")
    assert set(found.methods.values()) == {"factored"}
    wide = x.reshape(-1, 3).double()
    matrix = found["inner.weight_ih_l0"].matrix
    torch.testing.assert_close(matrix, (wide.T @ wide / 30).unsqueeze(0))
    states = take(layer, x).detach()
    before = torch.cat([torch.zeros(6, 1, 4), states[:, :-1]], 1).reshape(-1, 4).double()
    matrix = found["inner.weight_hh_l0"].matrix
    torch.testing.assert_close(matrix, (before.T @ before / 30).unsqueeze(0))
    # A single step: the derivative at a gate is that of its bias.
    one = estimate_matrices(Summed(layer, take), [x[:, :1]], loss="mse")
    squares = 0.0
    for example in x[:, :1].split(1):
        value = Summed(layer, take)(example).sum()
        squares = squares + torch.autograd.grad(value, layer.bias_ih_l0)[0].double() ** 2 / 6
    torch.testing.assert_close(
        one["inner.weight_ih_l0"].outputs, squares.unsqueeze(0), rtol=1e-4, atol=1e-9
    )


def test_attention_has_a_group_for_each_of_its_inputs():
    torch.manual_seed(3)
    layer = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    x = torch.randn(5, 3, 4)

    def second(values):
        wide = values.reshape(-1, 4).double()
        return wide.T @ wide / 15

    alone = Summed(layer, lambda m, v: m(v, v, v, need_weights=False)[0])
    found = estimate_matrices(alone, [x], loss="mse")
    torch.testing.assert_close(found["inner.in_proj_weight"].matrix, second(x).unsqueeze(0))
    assert found["inner.in_proj_weight"].outputs.shape == (1, 12)
    assert found["inner.out_proj.weight"].matrix.shape == (1, 4, 4)
    three = Summed(layer, lambda m, v: m(v, 2 * v, v + 1, need_weights=False)[0])
    found = estimate_matrices(three, [x], loss="mse")
    matrix, outputs, _ = found["inner.in_proj_weight"]
    torch.testing.assert_close(matrix, torch.stack([second(x), second(2 * x), second(x + 1)]))
    memory = torch.randn(5, 7, 4)
    crossed = Summed(layer, lambda m, v: m(v, memory[: len(v)], memory[: len(v)])[0])
    keys = memory.reshape(-1, 4).double()
    matrix = estimate_matrices(crossed, [x], loss="mse")["inner.in_proj_weight"].matrix
    expected = [second(x), keys.T @ keys / 35, keys.T @ keys / 35]
    torch.testing.assert_close(matrix, torch.stack(expected))
    assert outputs.shape == (3, 4) and found.diagonals()["inner.in_proj_weight"].shape == (12, 4)


def test_hidden_layers_against_derivatives_held_by_autograd():
    torch.manual_seed(4)
    first, second = nn.Conv1d(2, 3, 2), nn.Linear(12, 4)
    model = Summed(nn.Sequential(first, nn.Tanh(), nn.Flatten(), second), lambda m, v: m(v))
    x = torch.randn(7, 2, 5)
    found = estimate_matrices(model, [x], loss="mse")
    held = []
    for module in (first, second):
        module.register_forward_hook(lambda m, i, y: (y.retain_grad(), held.append(y))[0])
    model(x).sum().backward()
    conv, linear = (y.grad.double() for y in held)
    expected = (conv**2).sum((0, 2)) / 7, (linear**2).sum(0) / 7
    for name, squares in zip(("inner.0.weight", "inner.3.weight"), expected, strict=True):
        torch.testing.assert_close(found[name].outputs, squares.unsqueeze(0), rtol=1e-4, atol=1e-9)
        assert found.methods[name] == "factored"


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)

    def forward(self, tokens):
        return nn.functional.linear(self.mix(self.table(tokens)), self.table.weight).mean(1)


def test_what_is_used_in_two_ways_is_absent():
    found = estimate_matrices(Tied(), [torch.randint(0, 11, (4, 5))])
    assert found.methods == {"mix.weight": "factored", "table.weight": "absent"}
    assert found.absent == ("table.weight",) and list(found) == ["mix.weight"]


def network():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_runs_merge_and_files_keep_every_bit(tmp_path):
    model, x = network(), torch.randn(20, 6)
    whole = estimate_matrices(model, [x])
    parts = estimate_matrices(model, [x[:8]]) + estimate_matrices(model, [x[8:]])
    assert parts.count == 20
    for name, (matrix, _, _) in whole.items():
        torch.testing.assert_close(parts[name].matrix, matrix)
    whole.save(tmp_path / "m.safetensors")
    again = ImportanceMatrices.load(tmp_path / "m.safetensors")
    assert again.signature() == whole.signature() and again.methods == whole.methods
    for name, layer in whole.items():
        assert torch.equal(again[name].matrix, layer.matrix)
        assert torch.equal(again[name].outputs, layer.outputs)
    with pytest.raises(ValueError, match="cannot merge importances of different loss"):
        _ = whole + estimate_matrices(model, [x], loss="mse")
    with pytest.raises(ValueError, match="cannot merge"):
        _ = whole + estimate_matrices(nn.Linear(6, 3), [x])


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    estimate_matrices(network(), [torch.randn(9, 6)]).save(path)
    data = path.read_bytes()
    for old, new in ((b"importance_matrices", b"importance_matriceX"), (b"[[9], 2", b"[[0], 2"),
                     (b"second:0", b"second:9"), (b"[8, 6]", b"[8, 5]")):  # fmt: skip
        assert old in data
        path.write_bytes(data.replace(old, new))
        with pytest.raises(wkmeans.FormatError):
            ImportanceMatrices.load(path)


class Rooted(nn.Module):
    """Without a derivative where its layer gives 0."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x).abs().sqrt())


def test_the_first_batch_without_derivatives_is_named():
    batches = [torch.randn(4, 3), torch.zeros(2, 3)]
    with pytest.raises(ValueError, match=r"nan in batch 1 as the squared derivative .*'a\.weight'"):
        estimate_matrices(Rooted(), batches)


def test_nothing_is_saved_that_cannot_be_loaded(tmp_path):
    found = estimate_matrices(network(), [torch.randn(9, 6)])
    found.layers["0.weight"].second[0, 1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"to save: 'second:0\.weight'.*got nan at index"):
        found.save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_ranks_merge():
    if not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    found = estimate_matrices(network(), [torch.randn(9, 6)])
    with pytest.raises(RuntimeError, match="init_process_group"):
        found.all_reduce()
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        merged = found.all_reduce()
    finally:
        torch.distributed.destroy_process_group()
    assert merged.count == 9 and merged.signature() == found.signature()
    for name, layer in found.items():
        assert torch.equal(merged[name].matrix, layer.matrix)


def test_compress_takes_them():
    model, x = network(), torch.randn(50, 6)
    matrices = estimate_matrices(model, [x])
    found = wkmeans.compress(model, importances=matrices, k=4, min_size=1, floor=0)
    plain = wkmeans.compress(model, importances=matrices.diagonals(), k=4, min_size=1, floor=0)
    assert found.to_bytes() == plain.to_bytes()
    assert isinstance(found["0.weight"], wkmeans.CompressedTensor)


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one example"):
        estimate_matrices(network(), [])
    with pytest.raises(ValueError, match="loss"):
        estimate_matrices(network(), [torch.randn(2, 6)], loss="l3")


@pytest.mark.parametrize("most", [1, 10, 27, 1000])
def test_some_positions_are_those_of_the_whole(most):
    """Windows of padded images in two frames, and what is in memory as it is."""
    geometry = Geometry(kernel=(3, 3), stride=(2, 1), dilation=(1, 2), groups=2)
    values = torch.randn(1, 5, 2, 6, 9, 11, generator=torch.Generator().manual_seed(0))
    windows = Windows(values, geometry, counts=(4, 7))
    layer = Layer(Slot("weight"), groups=2, outputs=3, inputs=27)
    for factor in (windows, Held(windows.cut(slice(None), slice(None)))):
        every = torch.cat(list(LayerInput(layer, factor).parts()), 2).reshape(2, 27, 5, 56)
        some = torch.cat(list(LayerInput(layer, factor, most).parts()), 2)
        kept = min(most, 56)
        assert some.shape == (2, 27, 5 * kept)
        found = some.reshape(2, 27, 5, kept)
        for position in range(kept):
            assert any(torch.equal(found[..., position], every[..., i]) for i in range(56))
        assert len({tuple(column.tolist()) for column in found[0, :, 0].T}) == kept
