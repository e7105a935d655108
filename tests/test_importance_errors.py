"""What `estimate` refuses, and that its errors say what to change."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, examples, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wkmeans.importance import estimate  # noqa: E402


def test_an_unknown_objective_lists_the_known():
    with pytest.raises(ValueError, match="baseline, fisher, gradient, hessian, gradient"):
        estimate(mlp(), [], objective="magnitude")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "loss: expected"),
        ({"temperature": 0.0}, "temperature: expected a positive"),
        ({"temperature": float("inf")}, "temperature: expected a positive"),
        ({"loss": "mse", "temperature": 2.0}, "temperature: expected 1"),
        ({"mu": -1.0}, "mu: expected a finite, non-negative number"),
        ({"mu": 1.0}, "mu: expected 0"),
        ({"chunk_size": 0}, "chunk_size: expected at least 1"),
        ({"parameters": ["nothing"]}, "names among 0.weight, .* got 'nothing'"),
        ({"parameters": lambda *_: False}, "at least one of the model's, got none"),
        ({"objective": "fisher", "loss": lambda o, t: o.sum(1)}, "fisher"),
        ({"loss": lambda o, t: o.sum()}, "one value for each example"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        estimate(mlp(), [examples(3, torch.float32)], **{"objective": "gradient", **options})


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (torch.zeros(3, 6), TypeError, "pairs"),
        (([[0.0] * 6], torch.zeros(1)), TypeError, "expected a tensor"),
        ((torch.zeros(3, 6), torch.zeros(2, dtype=torch.long)), ValueError, "expected 3 targets"),
        ((torch.zeros(3, 6), torch.zeros(3)), ValueError, "class indices"),
        ((torch.zeros(3, 6), torch.tensor([0, CLASSES, 0])), ValueError, "got 4 at index 1"),
        ((torch.zeros(3, 6), None), TypeError, "expected targets"),
        ((torch.full((1, 6), torch.nan), torch.zeros(1).long()), ValueError, "example 0"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        estimate(mlp(), [batch], objective="gradient")


def test_no_examples():
    with pytest.raises(ValueError, match="at least one example"):
        estimate(mlp(), [], objective="gradient")


class BatchMean(nn.Module):
    """Couples examples without any layer that says so."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(x - x.mean(0))


class HiddenDropout(nn.Module):
    """Random without any layer that says so."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(x) + functional.dropout(x[:, :CLASSES], 1e-9, self.training)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, CLASSES)), "normalises each example"),
        (nn.BatchNorm1d(6, track_running_stats=False).eval(), "normalises each example"),
        (nn.Sequential(nn.Linear(6, CLASSES), nn.Dropout(0.5)), "drops activations"),
        (nn.LSTM(6, CLASSES, num_layers=2, dropout=0.5), "drops activations"),
        (BatchMean(), "changes with the other examples"),
        (HiddenDropout(), "random"),
    ],
)
def test_models_whose_examples_are_not_independent(net, message):
    with pytest.raises(ValueError, match=message):
        estimate(net, [examples(4, torch.float32)], objective="gradient")


def test_dropout_in_evaluation_is_fine():
    net = nn.Sequential(nn.Linear(6, CLASSES), nn.Dropout(0.5)).eval()
    assert estimate(net, [examples(4, torch.float32)]).count == 4


class ReturnsDict(nn.Module):
    """A model whose output is the only entry of a dict."""

    def __init__(self, name):
        super().__init__()
        self.linear, self.name = nn.Linear(6, CLASSES), name

    def forward(self, x):
        return {self.name: self.linear(x)}


def test_a_dict_without_logits_does_not_say_what_is_its_output():
    with pytest.raises(TypeError, match="a tensor as its logits, as its output, got dict; pass"):
        estimate(ReturnsDict("hidden"), [examples(4, torch.float32)])


def test_a_dict_with_logits_does():
    assert estimate(ReturnsDict("logits"), [examples(4, torch.float32)]).count == 4


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (3, "got int"),
        (torch.zeros(2, 6), r"got one Tensor; pass \[it\] where it is a batch"),
        ({"x": torch.zeros(2, 6)}, "got one dict"),
    ],
)
def test_what_are_no_batches(batches, message):
    with pytest.raises(TypeError, match=f"batches: expected an iterable of batches, {message}"):
        estimate(nn.Linear(6, CLASSES), batches, objective="fisher")
