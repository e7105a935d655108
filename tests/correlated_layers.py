"""Networks of layers whose inputs hang together, and those inputs."""

from __future__ import annotations

import torch
from torch import nn


def correlated(n: int, size: int, seed: int = 1) -> torch.Tensor:
    """Inputs of which few directions hold most."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99))
    scales = torch.exp(-torch.arange(size) * 6.0 / size)
    return torch.randn(n, size, generator=generator) * scales @ mixing + 1


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 8)).eval()


def relative_error(model, compressed, make, x) -> float:
    other = make()
    compressed.apply_to(other)
    with torch.no_grad():
        y, z = model(x).double(), other.eval()(x).double()
    return float((y - z).square().sum() / y.square().sum())


class Mixed(nn.Module):
    """Convolutions of every kind, a table, attention, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(30, 16)
        self.grouped = nn.Conv1d(16, 16, 3, padding=1, groups=2)
        self.depthwise = nn.Conv1d(16, 16, 5, padding=4, dilation=2, groups=16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        x = self.table(ids).transpose(1, 2)
        x = x + self.depthwise(torch.relu(self.grouped(x)))
        x = x.transpose(1, 2)
        return self.head(x + self.attention(x, x, x, need_weights=False)[0]).mean(1)
