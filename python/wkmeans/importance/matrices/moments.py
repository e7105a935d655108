"""Second moments of a layer's inputs in a network, beside those in the network it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

_CONSTANT = 1e-10
"""Inputs whose variance is a smaller share of their energy do not vary: single precision has 1e-14
of it for rounding, and what a layer before was rounded to has more."""


@dataclass(frozen=True)
class Moments:
    """Means over positions, for each group: of inputs ``x`` in the original and ``y`` in another.

    All float64.

    Attributes
    ----------
    second, cross : tensor (groups, inputs, inputs)
        ``E y y'`` and ``E x y'``.
    first, original_first : tensor (groups, inputs)
        ``E y`` and ``E x``.
    original_energy : tensor (groups,)
        ``E x'x``
    """

    second: torch.Tensor
    cross: torch.Tensor
    first: torch.Tensor
    original_first: torch.Tensor
    original_energy: torch.Tensor

    def centred(self) -> Moments:
        """Second moments about the means, which a bias makes up for; the rest as it is.

        Those of a group whose inputs do not vary, but for rounding, are zero.
        """
        second = self.second - _outer(self.first, self.first)
        cross = self.cross - _outer(self.original_first, self.first)
        constant = ~(_energy(second) > _CONSTANT * _energy(self.second))
        second[constant], cross[constant] = 0.0, 0.0
        return Moments(second, cross, self.first, self.original_first, self.original_energy)


class Positions(Protocol):
    """What a layer multiplied."""

    def parts(self) -> Iterator[torch.Tensor]:
        """``(groups, inputs, positions)``, some positions at a time."""


class MomentSums:
    """Sums over positions, in double; products of a part at a time in single where inputs are.

    Products are of differences from the first part's means: single precision would otherwise lose
    what varies in inputs whose means are large beside it.
    """

    def __init__(self) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        self._second = self._cross = self._first = self._original_first = self._energy = zero
        self._origins: tuple[torch.Tensor, torch.Tensor] | None = None
        self._count = 0

    def add(self, original: Positions, other: Positions) -> None:
        """What one layer multiplies in both networks, for the same examples; or twice the same."""
        if other is original:
            for x in original.parts():
                x_moved = self._moved(x, x)[0]
                product = x_moved @ x_moved.mT
                self._add(x, x_moved, x_moved, product, product)
            return
        for x, y in zip(original.parts(), other.parts(), strict=True):
            x_moved, y_moved = self._moved(x, y)
            self._add(x, x_moved, y_moved, y_moved @ y_moved.mT, x_moved @ y_moved.mT)

    def _moved(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._origins is None:
            x_mean = x.mean(2, keepdim=True)
            self._origins = x_mean, x_mean if y is x else y.mean(2, keepdim=True)
        x_moved = x - self._origins[0]
        return x_moved, x_moved if y is x else y - self._origins[1]

    def _add(
        self,
        x: torch.Tensor,
        x_moved: torch.Tensor,
        y_moved: torch.Tensor,
        second: torch.Tensor,
        cross: torch.Tensor,
    ) -> None:
        if not self._count:
            self._second, self._cross = _zeros_like(second), _zeros_like(cross)
        self._second += second
        self._cross += cross
        self._first = self._first + y_moved.sum(2, dtype=torch.float64)
        self._original_first = self._original_first + x_moved.sum(2, dtype=torch.float64)
        self._energy = self._energy + x.square().sum((1, 2), dtype=torch.float64)
        self._count += x.shape[2]

    @property
    def count(self) -> int:
        """How many positions have been added."""
        return self._count

    def moments(self) -> Moments:
        """What has been summed so far."""
        assert self._origins is not None
        x_origin, y_origin = (origin.squeeze(2).double() for origin in self._origins)
        scale = 1 / self._count
        x_mean, y_mean = self._original_first * scale, self._first * scale
        first, original_first = y_origin + y_mean, x_origin + x_mean
        second, cross = self._second * scale, self._cross * scale
        second.sub_(_outer(y_mean, y_mean)).add_(_outer(first, first))
        cross.sub_(_outer(x_mean, y_mean)).add_(_outer(original_first, first))
        return Moments(second, cross, first, original_first, self._energy * scale)


def _zeros_like(products: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(products, dtype=torch.float64)


def _energy(second: torch.Tensor) -> torch.Tensor:
    return second.diagonal(dim1=1, dim2=2).sum(1)


def _outer(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left.unsqueeze(2) * right.unsqueeze(1)
