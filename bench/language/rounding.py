"""What everybody has: evenly spaced values, a scale and a zero for each group of 128 weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

GROUP = 128
_WORD = 64  # bits that as many labels as fit are packed into, where levels are no power of two


@dataclass(frozen=True)
class Grid:
    """Evenly spaced values for each row of a group; least value and step are kept as float16."""

    low: torch.Tensor
    step: torch.Tensor
    levels: int

    @classmethod
    def spanning(cls, part: torch.Tensor, levels: int) -> Grid:
        """From the least to the largest of each row."""
        low, high = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
        low = low.half().to(part.dtype)
        step = ((high - low) / (levels - 1)).half().to(part.dtype)
        return cls(low, step.clamp(min=torch.finfo(torch.half).tiny), levels)

    def nearest(self, part: torch.Tensor) -> torch.Tensor:
        labels = ((part - self.low) / self.step).round().clamp(0, self.levels - 1)
        return labels * self.step + self.low


def rounded(weight: torch.Tensor, levels: int) -> torch.Tensor:
    """Each group along a row to the nearest of its grid."""
    groups = [Grid.spanning(p, levels).nearest(p) for p in weight.float().split(GROUP, dim=1)]
    return torch.cat(groups, dim=1).to(weight.dtype)


def bits_each(levels: int) -> float:
    """Of a weight, with its share of scales and zeros, labels packed."""
    exact = math.log2(levels)
    label = exact if exact.is_integer() else _WORD / math.floor(_WORD / exact)
    return label + 32 / GROUP
