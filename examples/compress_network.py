"""Compress a network to a size, by what its outputs say; judge it on images it was not chosen on.

pip install "wkmeans[demo]" && python examples/compress_network.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

import wkmeans


def accuracy(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(images).argmax(1) == targets).float().mean().item()


def train(images: torch.Tensor, targets: torch.Tensor) -> nn.Module:
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data).float() / 16
    targets = torch.tensor(digits.target)
    model = train(images[::2], targets[::2])
    print(f"original: {accuracy(model, images[1::2], targets[1::2]):.3f}")
    for size in (8_000, 4_000, 3_000):
        small = wkmeans.compress(model, calibration=[images[::2]], target_bytes=size)
        small.save("network.safetensors")
        loaded = wkmeans.load("network.safetensors").apply_to(train(images[:2], targets[:2]))
        print(f"{small.nbytes} bytes: {accuracy(loaded, images[1::2], targets[1::2]):.3f}")
    print(small.report())


if __name__ == "__main__":
    main()
