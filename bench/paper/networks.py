"""The paper's two networks (section 6), their training from scratch, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from wkmeans.demo._data import Split
from wkmeans.demo._network import perceptron

Shape = tuple[int, int, int]
_EVALUATION_BATCH = 200


class Score(NamedTuple):
    """Shares in [0, 1] of examples whose class is first, or among the first five; nats."""

    accuracy: float
    top5: float
    cross_entropy: float


class Recipe(NamedTuple):
    """How a network is built from an image's shape and the number of classes, and trained."""

    build: Callable[[Shape, int], nn.Module]
    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3


def fully_connected(shape: Shape, n_classes: int) -> nn.Module:
    """Three dense layers, 300 and 100 hidden units."""
    channels, height, width = shape
    return perceptron((channels * height * width, 300, 100, n_classes))


def convolutional(shape: Shape, n_classes: int) -> nn.Module:
    """Five convolutions, three poolings and three dense layers."""
    channels, height, width = shape
    widths = (8, 16, 16, 32, 32)
    pooled = (0, 2, 4)
    layers: list[nn.Module] = [nn.Unflatten(1, shape)]
    for i, (fan_in, fan_out) in enumerate(zip((channels, *widths), widths, strict=False)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU()]
        if i in pooled:
            layers.append(nn.MaxPool2d(2))
    features = widths[-1] * (height // 8) * (width // 8)
    return nn.Sequential(*layers, nn.Flatten(), perceptron((features, 128, 64, n_classes)))


def train(recipe: Recipe, shape: Shape, n_classes: int, split: Split, seed: int) -> nn.Module:
    """Adam on cross-entropy, its learning rate falling linearly to zero.

    The same seed gives the same weights; torch's own random state stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = recipe.build(shape, n_classes).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate)
        steps = recipe.epochs * -(-len(split) // recipe.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for _ in range(recipe.epochs):
            for chosen in torch.split(torch.randperm(len(split)), recipe.batch_size):
                loss = functional.cross_entropy(net(split.inputs[chosen]), split.targets[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return net.eval()


def trained(
    recipe: Recipe, shape: Shape, n_classes: int, split: Split, seed: int, cache: Path
) -> nn.Module:
    """The network of `train`, from ``cache`` where an earlier run left it."""
    if not cache.exists():
        net = train(recipe, shape, n_classes, split, seed)
        partial = cache.with_suffix(".partial")
        save_file({name: values.contiguous() for name, values in net.state_dict().items()}, partial)
        partial.replace(cache)
    net = recipe.build(shape, n_classes)
    net.load_state_dict(load_file(cache))
    return net.eval()


@torch.no_grad()
def score(net: nn.Module, weights: Mapping[str, torch.Tensor], split: Split) -> Score:
    """How well ``net`` does on ``split`` with ``weights`` in place of its own."""
    fast = {
        name: w.to(memory_format=torch.channels_last) if w.ndim == 4 else w
        for name, w in weights.items()
    }
    logits = torch.cat(
        [functional_call(net, fast, (x,)) for x, _ in split.batches(_EVALUATION_BATCH)]
    )
    ranked = logits.topk(min(5, logits.shape[1])).indices == split.targets.unsqueeze(1)
    return Score(
        accuracy=ranked[:, 0].double().mean().item(),
        top5=ranked.any(1).double().mean().item(),
        cross_entropy=functional.cross_entropy(logits.double(), split.targets).item(),
    )
