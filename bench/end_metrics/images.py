"""Networks trained here on Fashion-MNIST, the same for each seed, and kept: accuracy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from end_metrics.network import Network
from end_metrics.state import UnavailableError
from wkmeans.demo._data import _find_fashion_mnist, _read_pair

BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained, and how many training images calibrate it."""

    build: Callable[[], nn.Module]
    epochs: int
    mean: float
    scale: float
    calibrated_by: int


def mlp() -> nn.Module:
    """784-300-100-10."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 300), nn.ReLU()),
        *(nn.Linear(300, 100), nn.ReLU()),
        nn.Linear(100, 10),
    )


def cnn() -> nn.Module:
    """Five convolutions and three dense layers."""
    layers: list[nn.Module] = []
    fan_in = 1
    for fan_out, pooled in ((24, True), (48, False), (48, True), (64, False), (64, True)):
        layers += _convolution(fan_in, fan_out, bias=False, normalised=True, pooled=pooled)
        fan_in = fan_out
    dense = (nn.Linear(576, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def small_cnn() -> nn.Module:
    """Three convolutions and two dense layers, 61k weights."""
    return nn.Sequential(
        *_convolution(1, 16, bias=True, normalised=True, pooled=True),
        *_convolution(16, 32, bias=True, normalised=True, pooled=True),
        *_convolution(32, 64, bias=True, normalised=False, pooled=False),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        *(nn.Linear(576, 64), nn.ReLU()),
        nn.Linear(64, 10),
    )


def _convolution(
    fan_in: int, fan_out: int, *, bias: bool, normalised: bool, pooled: bool
) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=bias)]
    if normalised:
        layers.append(nn.BatchNorm2d(fan_out))
    layers.append(nn.ReLU())
    if pooled:
        layers.append(nn.MaxPool2d(2))
    return layers


RECIPES = {
    "MLP": Recipe(mlp, 10, 0.286, 0.353, 2048),
    "CNN 5+3": Recipe(cnn, 3, 0.286, 0.353, 1024),
    "CNN 61k": Recipe(small_cnn, 2, 0.0, 1.0, 2048),
}


def network(name: str, seed: int, cache: Path) -> Network:
    """The network of one seed, trained where `cache` has none.

    Training images without labels calibrate it; test images judge it, and choose nothing.
    """
    recipe = RECIPES[name]
    try:
        folder = _find_fashion_mnist()
    except FileNotFoundError as error:
        raise UnavailableError(str(error)) from None
    images, labels = _split(folder, "train", recipe)
    kept = cache / f"{name.lower().replace(' ', '-')}-{seed}.safetensors"
    net = _trained(recipe, seed, images, labels, kept)
    chosen = np.random.default_rng(seed).permutation(len(images))[: recipe.calibrated_by]
    inputs, targets = _split(folder, "t10k", recipe)

    def accuracy(outputs: torch.Tensor, original: torch.Tensor) -> float:
        return float((outputs.argmax(1) == targets).double().mean())

    return Network(
        net,
        images[torch.from_numpy(chosen)].split(BATCH),
        inputs.split(500),
        "cross_entropy",
        "accuracy",
        accuracy,
        len(targets),
    )


def _split(folder: Path, part: str, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = _read_pair(folder, part)
    pixels = torch.from_numpy(images).reshape(-1, 1, 28, 28)
    return (pixels - recipe.mean) / recipe.scale, torch.from_numpy(labels.astype(np.int64))


def _trained(
    recipe: Recipe, seed: int, images: torch.Tensor, labels: torch.Tensor, kept: Path
) -> nn.Module:
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        save_file(_train(recipe, seed, images, labels).state_dict(), partial)
        partial.replace(kept)
    net = recipe.build()
    net.load_state_dict(load_file(kept))
    return net.eval()


def _train(recipe: Recipe, seed: int, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Adam on cross-entropy, one cycle of learning rates."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = recipe.build()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 3e-3, total_steps=recipe.epochs * -(-len(images) // BATCH)
        )
        for _ in range(recipe.epochs):
            for chosen in torch.randperm(len(images)).split(BATCH):
                loss = functional.cross_entropy(net(images[chosen]), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return net.eval()
