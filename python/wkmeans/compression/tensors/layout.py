"""How granularity cuts a tensor into pieces, each with a codebook of its own.

The first axis counts output channels, as in PyTorch's linear and convolution layers. A group is a
run of consecutive weights of one channel in C order; the last one of each channel may be shorter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.coding import look_up

Granularity = str | int
"""``"tensor"``, ``"channel"``, or how many consecutive weights of a channel make a group."""


@dataclass(frozen=True)
class Layout:
    """Channels as rows, and the pieces of each row."""

    n_channels: int
    channel_size: int
    group: int  # weights a piece, of which the last of each channel may hold fewer
    shared: bool  # all channels are one piece

    @property
    def groups_per_channel(self) -> int:
        return -(-self.channel_size // self.group) if self.group else 0

    @property
    def n_codebooks(self) -> int:
        return 1 if self.shared else self.n_channels * self.groups_per_channel

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Columns of the rows that hold pieces of one length, and which codebooks a row uses."""
        if self.shared or not self.group:
            return
        whole = self.channel_size // self.group
        if whole:
            yield slice(0, whole * self.group), slice(0, whole)
        if self.channel_size % self.group:
            yield slice(whole * self.group, None), slice(whole, whole + 1)

    def expand(self, labels: Array, codebooks: Array) -> Array:
        """``codebook[label]`` of every weight, shape ``(n_channels, channel_size)``."""
        rows = labels.reshape(self.n_channels, self.channel_size)
        return look_up(rows, codebooks, 0 if self.shared else self.group)


def layout_of(shape: tuple[int, ...], granularity: Granularity) -> Layout:
    """The layout of a tensor of `shape`; a scalar or a vector is one channel."""
    n_channels = shape[0] if len(shape) > 1 else 1
    size = int(np.prod(shape, dtype=np.int64))
    channel_size = size // n_channels if n_channels else 0
    if granularity == "tensor":
        return Layout(n_channels, channel_size, channel_size, shared=True)
    group = channel_size if granularity == "channel" else min(int(granularity), channel_size)
    return Layout(n_channels, channel_size, group, shared=False)


def checked_granularity(granularity: Any) -> Granularity:
    if granularity in ("tensor", "channel"):
        return str(granularity)
    if isinstance(granularity, (bool, str)) or not hasattr(granularity, "__index__"):
        raise ValueError(
            "granularity: expected 'tensor', 'channel' or the number of weights in a group, "
            f"got {granularity!r}"
        )
    group = int(granularity.__index__())
    if group < 1:
        raise ValueError(f"granularity: expected a group of at least 1 weight, got {group}")
    return group
