"""Parametrised layers against dense ones: gradients, fine-tuning, saving."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export_cases import (  # noqa: E402
    SHAPE,
    assert_same,
    dense_model,
    each_tensor,
    one_codebook,
    scaled_rows,
    small_model,
    with_a_zero,
)
from torch import nn  # noqa: E402
from torch.nn.utils import parametrize as torch_parametrize  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.export import (  # noqa: E402
    IndexedTensor,
    indexed_tensors,
    parametrize,
)


@each_tensor
def test_parametrized_weights_are_the_dense_ones(tensor):
    model = parametrize(small_model(), {"0.weight": tensor})
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), tensor.dequantize())
    assert_same(indexed_tensors(model)["0.weight"], tensor)


@each_tensor
def test_a_codebooks_gradient_is_the_sum_over_its_weights(tensor):
    model = parametrize(small_model().double(), {"0.weight": tensor})
    dense = dense_model(tensor).double()
    dense[0].weight.data = model[0].weight.detach().clone()
    x = torch.randn(8, SHAPE[1], dtype=torch.float64)
    model(x).square().sum().backward()
    dense(x).square().sum().backward()
    gradient = dense[0].weight.grad.numpy()
    if tensor.scale is not None:
        gradient = gradient * tensor.scale
    groups = 0 if tensor.groups is None else tensor.groups
    expected = np.zeros(tensor.codebook.shape)
    np.add.at(expected, (np.broadcast_to(groups, tensor.shape), tensor.labels), gradient)
    expected[tensor.codebook == 0] = 0
    codebook = model[0].parametrizations.weight.original
    np.testing.assert_allclose(codebook.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_gradients():
    tensor = one_codebook()
    model = parametrize(small_model().double(), {"0.weight": tensor})
    codebook = model[0].parametrizations.weight.original

    def loss(values):
        weight = model[0].parametrizations.weight[0](values)
        return weight.pow(3).sum()

    assert torch.autograd.gradcheck(loss, codebook)
    assert torch.autograd.gradgradcheck(loss, codebook)


def test_sums_of_many_single_precision_gradients():
    n = 1_000_000
    tensor = IndexedTensor(np.zeros((1, n), np.uint8), np.ones((1, 1), np.float32))
    layer = parametrize(nn.Linear(n, 1, bias=False), {"weight": tensor})
    layer(torch.full((1, n), 0.1)).sum().backward()
    gradient = layer.parametrizations.weight.original.grad.item()
    assert gradient == np.float32(n * float(np.float32(0.1)))


def test_fine_tuning_lowers_the_loss_and_keeps_zeros():
    tensor = with_a_zero()
    model = parametrize(small_model(), {"0.weight": tensor})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = torch.randn(32, SHAPE[1]), torch.randn(32, 3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    tuned = indexed_tensors(model)["0.weight"]
    assert np.any(tuned.codebook != tensor.codebook)
    np.testing.assert_array_equal(tuned.codebook == 0, tensor.codebook == 0)
    np.testing.assert_array_equal(tuned.dequantize(), model[0].weight.detach().numpy())


def test_weight_decay_does_not_touch_zeros_nor_labels_move(tmp_path):
    tensor = with_a_zero()
    model = parametrize(small_model(), {"0.weight": tensor})
    torch.save(model.state_dict(), tmp_path / "model.pt")
    fresh = parametrize(small_model(), {"0.weight": tensor})
    with torch.no_grad():
        fresh[0].parametrizations.weight.original.add_(1)
    fresh.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert_same(indexed_tensors(fresh)["0.weight"], tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_dicts_can_be_averaged(dtype):
    tensor = with_a_zero()
    models = [parametrize(small_model(), {"0.weight": tensor}).to(dtype) for _ in range(2)]
    with torch.no_grad():
        models[1][0].parametrizations.weight.original.mul_(3)
    states = [model.state_dict() for model in models]
    assert all(value.is_floating_point() for value in states[0].values())
    average = {name: 0.3 * value + 0.7 * states[1][name] for name, value in states[0].items()}
    models[0].load_state_dict(average)
    torch.testing.assert_close(
        models[0][0].weight,
        (2.4 * torch.from_numpy(tensor.dequantize())).to(dtype),
        rtol=0.02,
        atol=0.02,
    )
    ema = torch.optim.swa_utils.AveragedModel(models[1], use_buffers=False)
    ema.update_parameters(models[1])
    torch.testing.assert_close(ema.module[0].weight, models[1][0].weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codebooks_for_other_labels_are_refused(dtype):
    tensor = one_codebook()
    other = IndexedTensor(tensor.labels[:, ::-1], tensor.codebook)
    state, of_others, with_zero = (
        parametrize(small_model(), {"0.weight": each}).to(dtype).state_dict()
        for each in (tensor, other, with_a_zero())
    )
    model = parametrize(small_model(), {"0.weight": tensor})
    model.load_state_dict(state)
    for wrong in (of_others, with_zero):
        with pytest.raises(ValueError, match=r"weight\.0\.labels: expected a codebook"):
            model.load_state_dict(wrong)


def test_saved_small(tmp_path):
    n = 200_000
    tensor = IndexedTensor(np.zeros((1, n), np.uint8), np.ones((1, 16), np.float32))
    layer = parametrize(nn.Linear(n, 1), {"weight": tensor})
    torch.save(layer.state_dict(), tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < 10_000


def test_back_to_a_dense_layer():
    tensor = scaled_rows()
    model = parametrize(small_model(), {"0.weight": tensor})
    torch_parametrize.remove_parametrizations(model[0], "weight")
    assert type(model[0]) is nn.Linear
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), tensor.dequantize())
    assert indexed_tensors(model) == {}


def test_tied_parameters_share_one_codebook():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(*SHAPE)
            self.head = nn.Linear(SHAPE[1], SHAPE[0], bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, index):
            return self.head(self.embedding(index))

    tensor = one_codebook()
    for names in (["embedding.weight"], ["head.weight"], ["embedding.weight", "head.weight"]):
        model = parametrize(Tied(), dict.fromkeys(names, tensor))
        assert len(list(model.parameters())) == 1
        model(torch.tensor([0, 1])).sum().backward()
        assert list(indexed_tensors(model)) == ["embedding.weight"]
        np.testing.assert_array_equal(model.head.weight.detach(), model.embedding.weight.detach())
    with pytest.raises(ValueError, match=r"tensors\['head.weight'\]: another tensor is given"):
        parametrize(Tied(), {"embedding.weight": tensor, "head.weight": one_codebook(3)})


def test_frozen_and_half_precision_parameters():
    model = small_model().bfloat16()
    model[0].weight.requires_grad_(False)
    parametrize(model, {"0.weight": one_codebook()})
    codebook = model[0].parametrizations.weight.original
    assert codebook.dtype == torch.bfloat16 and not codebook.requires_grad


def test_another_weight_cannot_be_assigned():
    model = parametrize(small_model(), {"0.weight": one_codebook()})
    with pytest.raises(RuntimeError, match="compress the new weight"):
        model[0].weight = torch.zeros(SHAPE)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"5.weight": one_codebook()},
            "names of the model's parameters or buffers, got '5.weight'",
        ),
        ({"2.weight": one_codebook()}, r"tensors\['2.weight'\]: expected shape \(3, 6\)"),
    ],
)
def test_tensors_that_are_not_the_models(tensors, message):
    model = small_model()
    with pytest.raises(ValueError, match=message):
        parametrize(model, {"0.weight": one_codebook(), **tensors})
    assert not torch_parametrize.is_parametrized(model[0]), "checked before anything changes"


class Tied(nn.Module):
    """Tied weights, a buffer that is compressed as well, a bias."""

    def __init__(self):
        super().__init__()
        self.register_buffer("positions", torch.randn(16, 12))
        self.embedding = nn.Embedding(20, 12)
        self.head = nn.Linear(12, 20)
        self.head.weight = self.embedding.weight

    def forward(self, index):
        return self.head(self.embedding(index) + self.positions[index % 16])


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 3},
        {"k": 5, "granularity": "channel", "channel_scales": True},
        {"k": 4, "density": 0.5},
        {"target_bits_per_weight": 24.0},
    ],
    ids=str,
)
def test_a_compressed_model_fine_tuned_and_compressed_again(options, tmp_path):
    torch.manual_seed(0)
    compressed = wkmeans.compress(Tied(), **options)
    dense, model = compressed.apply_to(Tied()), compressed.parametrize(Tied())
    index = torch.arange(20)
    torch.testing.assert_close(model(index), dense(index))
    assert len(list(model.parameters())) == 2, "one codebook for the tied weights, and the bias"

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(index).square().mean().backward()
        optimizer.step()
    compressed.tuned(model).save(tmp_path / "tuned")
    loaded = wkmeans.load(tmp_path / "tuned")
    again = loaded.apply_to(Tied())
    torch.testing.assert_close(again(index), model(index))
    assert not torch.equal(again.embedding.weight, dense.embedding.weight)
    assert torch.equal(again.embedding.weight == 0, dense.embedding.weight == 0)
    assert (loaded["head.weight"].labels == loaded["embedding.weight"].labels).all()


def test_a_model_that_was_not_parametrized_has_no_codebooks():
    compressed = wkmeans.compress(Tied(), bits=2)
    with pytest.raises(ValueError, match="model: expected one that parametrize"):
        compressed.tuned(Tied())
