"""A small fully connected network: the paper's kind for MNIST, trained and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from wkmeans.demo._data import Split


class Score(NamedTuple):
    """How well a network does on a split: accuracy in [0, 1], mean cross-entropy in nats."""

    accuracy: float
    cross_entropy: float


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given widths, with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def train(
    widths: Sequence[int],
    split: Split,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[], None],
) -> nn.Sequential:
    """A perceptron trained with Adam; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = perceptron(widths)
        optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(split)), batch_size):
                loss = functional.cross_entropy(net(split.inputs[chosen]), split.targets[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            on_epoch()
    return net.eval()


@torch.no_grad()
def evaluate(net: Callable[[torch.Tensor], torch.Tensor], split: Split) -> Score:
    """Accuracy and cross-entropy of ``net`` on ``split``."""
    logits = net(split.inputs)
    cross_entropy = functional.cross_entropy(logits.double(), split.targets)
    accuracy = (logits.argmax(1) == split.targets).double().mean()
    return Score(accuracy.item(), cross_entropy.item())
