"""A convolution's windows as one side of a product, for any number of dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Geometry:
    """Where windows lie: one entry for each spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(
        cls, kernel: Sequence[int], stride: int | Sequence[int], dilation: int | Sequence[int],
        groups: int,
    ) -> Geometry:  # fmt: skip
        """From a functional convolution's own arguments."""
        n = len(kernel)
        return cls(tuple(kernel), per_dimension(stride, n), per_dimension(dilation, n), groups)

    def padding_of(self, padding: str | int | Sequence[int]) -> list[tuple[int, int]]:
        """Before and after each dimension, ``"same"`` as torch splits it."""
        if padding == "valid":
            padding = 0
        if isinstance(padding, str):
            whole = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
            return [(pad // 2, pad - pad // 2) for pad in whole]
        return [(pad, pad) for pad in per_dimension(padding, len(self.kernel))]


@dataclass(frozen=True)
class Windows:
    """``(seeds, examples, groups, channels * kernel, positions)``, copied for what is asked only.

    ``values`` is ``(seeds, examples, frames, channels, *space)``, padded; ``counts`` the number of
    windows along each spatial dimension. Frames are positions too.
    """

    values: torch.Tensor
    geometry: Geometry
    counts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all windows."""
        seeds, examples, frames, channels = self.values.shape[:4]
        groups = self.geometry.groups
        rows = channels // groups * math.prod(self.geometry.kernel)
        return seeds, examples, groups, rows, frames * math.prod(self.counts)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def view(self) -> torch.Tensor:
        """``(seeds, examples, groups, channels, *kernel, frames, *counts)``; windows overlap."""
        values, groups = self.values, self.geometry.groups
        seeds, examples, frames, channels = values.shape[:4]
        of_seeds, of_examples, of_frames, of_channels, *space = values.stride()
        kernel = [s * d for s, d in zip(space, self.geometry.dilation, strict=True)]
        steps = [s * d for s, d in zip(space, self.geometry.stride, strict=True)]
        each = channels // groups
        return values.as_strided(
            (seeds, examples, groups, each, *self.geometry.kernel, frames, *self.counts),
            (of_seeds, of_examples, of_channels * each, of_channels, *kernel, of_frames, *steps),
            values.storage_offset(),
        )

    @property
    def n_row_axes(self) -> int:
        """Channels, and the kernel's."""
        return 1 + len(self.geometry.kernel)

    def cut(self, seeds: slice, examples: slice) -> torch.Tensor:
        """A copy: overlapping windows repeat what they share."""
        windows = self.view[seeds if len(self.values) > 1 else slice(None), examples]
        return windows.reshape(*windows.shape[:3], *self.shape[3:])


def padded(values: torch.Tensor, padding: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Zeros around the last dimensions."""
    if not any(before or after for before, after in padding):
        return values
    return functional.pad(values, [pad for pair in reversed(padding) for pad in pair])


def per_dimension(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    """One number for all dimensions or one for each, as torch's convolutions take them."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * n if len(values) == 1 else values
