"""Models whose weights stay codes in memory give what the dequantised weights give."""

from __future__ import annotations

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils import parametrize  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.compression.coded.modules import CodedEmbedding, CodedLinear  # noqa: E402

SETTINGS = [
    {"k": 2},
    {"k": 5, "granularity": 32},
    {"k": 16},
    {"k": 16, "coding": "packed"},
    {"k": 200},
    {"bits": 3, "granularity": "channel"},
    {"k": 8, "channel_scales": True},
    {"target_bits_per_weight": 6},
]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 33),
        nn.Linear(33, 10),
    ).eval()


def both(model, **settings):
    """The model with dense weights, and with codes."""
    small = wkmeans.compress(model, **settings)
    dense = small.apply_to(copy.deepcopy(model))
    return dense, small.apply_to(copy.deepcopy(model), keep_codes=True)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_outputs_and_weights_are_those_of_the_dense_model(settings):
    dense, coded = both(network(), **settings)
    assert isinstance(coded[3], CodedLinear)
    for batch in (1, 3, 17):
        inputs = torch.randn(batch, 3, 6, 6)
        with torch.no_grad():
            torch.testing.assert_close(coded(inputs), dense(inputs), rtol=1e-5, atol=1e-5)
    for layer in (0, 3, 4):
        assert torch.equal(coded[layer].weight, dense[layer].weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    """Half precision stays codes; double, which codebooks could not hold, becomes dense."""
    dense, coded = both(network().to(dtype), k=16)
    assert isinstance(coded[3], CodedLinear) == (dtype != torch.float64)
    inputs = torch.randn(2, 3, 6, 6, dtype=dtype)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float64 else {"rtol": 0.02, "atol": 0.02}
    with torch.no_grad():
        torch.testing.assert_close(coded(inputs), dense(inputs), **close)


def test_gradients_reach_the_inputs():
    dense, coded = both(network(), k=16)
    gradients = []
    for model in (dense, coded):
        inputs = torch.ones(2, 3, 6, 6, requires_grad=True)
        model(inputs).square().sum().backward()
        gradients.append(inputs.grad)
    torch.testing.assert_close(*gradients)


def test_copies_and_moves_keep_the_codes():
    dense, coded = both(network(), k=16)
    inputs = torch.randn(2, 3, 6, 6)
    copies = [
        copy.deepcopy(coded),
        copy.deepcopy(coded).half().float(),
        copy.deepcopy(coded).to("cpu"),
    ]
    for model in copies:
        assert torch.equal(model[3].weight, dense[3].weight)
        with torch.no_grad():
            torch.testing.assert_close(model(inputs), coded(inputs), rtol=1e-3, atol=1e-3)
    again = pickle.loads(pickle.dumps(coded[3]))
    assert torch.equal(again.weight, dense[3].weight)


def test_a_state_dict_of_codes_loads_into_another_model_of_codes():
    _, coded = both(network(), k=16)
    _, other = both(network(), k=16)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(coded.state_dict())
    inputs = torch.randn(1, 3, 6, 6)
    with torch.no_grad():
        assert torch.equal(other(inputs), coded(inputs))


def test_memory_is_that_of_the_codes():
    model = nn.Sequential(nn.Linear(512, 512, bias=False))
    _, coded = both(model, k=16)
    held = sum(t.numel() * t.element_size() for t in coded.state_dict().values())
    assert held < 512 * 512 / 2 + 512


def test_tied_weights_are_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(40, 16, padding_idx=0)
            self.head = nn.Linear(16, 40, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids))

    torch.manual_seed(0)
    dense, coded = both(Tied().eval(), k=8, include="*")
    assert isinstance(coded.embed, CodedEmbedding)
    assert coded.embed.coded is coded.head.coded
    ids = torch.tensor([[0, 5, 39], [1, 1, 2]])
    with torch.no_grad():
        torch.testing.assert_close(coded(ids), dense(ids))


def test_recurrent_layers_become_dense():
    torch.manual_seed(0)
    dense, coded = both(nn.LSTM(16, 16, batch_first=True), k=8)
    assert not parametrize.is_parametrized(coded)
    inputs = torch.randn(2, 5, 16)
    assert torch.equal(coded(inputs)[0], dense(inputs)[0])


def test_attention_unpacks_what_it_reads():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    dense, coded = both(attention, k=8)
    inputs = torch.randn(2, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            coded(inputs, inputs, inputs)[0], dense(inputs, inputs, inputs)[0]
        )


def test_what_does_not_fit_is_refused_before_anything_changes():
    small = wkmeans.compress(network(), k=16)
    other = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(RuntimeError, match="do not fit"):
        small.apply_to(other, keep_codes=True)
    assert type(other[0]) is nn.Linear
