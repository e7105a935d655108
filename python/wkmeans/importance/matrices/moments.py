"""Second moments of a layer's inputs in a network, beside those in the network it came from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wkmeans.importance.matrices.layers import LayerInput


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
        """Second moments about the means, which a bias makes up for; the rest as it is."""
        return Moments(
            self.second - _outer(self.first, self.first),
            self.cross - _outer(self.original_first, self.first),
            self.first,
            self.original_first,
            self.original_energy,
        )


class MomentSums:
    """Sums over positions, in double; products of a part at a time in single where inputs are."""

    def __init__(self) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        self._second = self._cross = self._first = self._original_first = self._energy = zero
        self._count = 0

    def add(self, original: LayerInput, other: LayerInput) -> None:
        """What one layer multiplies in both networks, for the same examples; or twice the same."""
        if other is original:
            for x in original.parts():
                product = (x @ x.mT).double()
                self._add(x, x, product, product)
            return
        for x, y in zip(original.parts(), other.parts(), strict=True):
            self._add(x, y, (y @ y.mT).double(), (x @ y.mT).double())

    def _add(
        self, x: torch.Tensor, y: torch.Tensor, second: torch.Tensor, cross: torch.Tensor
    ) -> None:
        self._second = self._second + second
        self._cross = self._cross + cross
        self._first = self._first + y.sum(2, dtype=torch.float64)
        self._original_first = self._original_first + x.sum(2, dtype=torch.float64)
        self._energy = self._energy + x.square().sum((1, 2), dtype=torch.float64)
        self._count += x.shape[2]

    def moments(self) -> Moments:
        """What has been summed so far."""
        scale = 1 / self._count
        return Moments(
            self._second * scale,
            self._cross * scale,
            self._first * scale,
            self._original_first * scale,
            self._energy * scale,
        )


def _outer(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left.unsqueeze(2) * right.unsqueeze(1)
