"""What everybody has: evenly spaced values, a scale and a zero for each group of 128 weights."""

from __future__ import annotations

import torch

GROUP = 128


def rounded(weight: torch.Tensor, bits: float) -> torch.Tensor:
    """From the least to the largest of each group along a row, both kept as float16."""
    steps = 2 ** int(bits) - 1
    groups = [_rounded(part, steps) for part in weight.float().split(GROUP, dim=1)]
    return torch.cat(groups, dim=1).to(weight.dtype)


def _rounded(part: torch.Tensor, steps: int) -> torch.Tensor:
    low, high = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
    low = low.half().float()
    step = ((high - low) / steps).half().float().clamp(min=torch.finfo(torch.half).tiny)
    return ((part - low) / step).round().clamp(0, steps) * step + low


def bits_each(bits: float) -> float:
    """With scales and zeros."""
    return bits + 32 / GROUP
