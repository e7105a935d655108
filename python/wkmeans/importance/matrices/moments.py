"""Second moments of a layer's inputs, of one network or of two that see the same examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wkmeans.importance.matrices.layers import LayerInput


@dataclass(frozen=True)
class Moments:
    """Means over positions, each group's own: float64.

    Attributes
    ----------
    second : tensor (groups, inputs, inputs)
        ``E x x'``
    first : tensor (groups, inputs)
        ``E x``
    """

    second: torch.Tensor
    first: torch.Tensor

    def centred(self) -> Moments:
        """About the mean, which a bias makes up for."""
        return Moments(_about(self.second, self.first, self.first), self.first)


@dataclass(frozen=True)
class PairedMoments:
    """Moments of the inputs of a layer in the original, ``x``, and in another network, ``y``.

    ``cross`` is ``E x y'``.
    """

    original: Moments
    other: Moments
    cross: torch.Tensor

    def centred(self) -> PairedMoments:
        """About the means, which a bias makes up for."""
        cross = _about(self.cross, self.original.first, self.other.first)
        return PairedMoments(self.original.centred(), self.other.centred(), cross)


class MomentSums:
    """Sums over positions, in double; products of a part at a time in single where inputs are."""

    def __init__(self) -> None:
        self._second = self._first = torch.zeros((), dtype=torch.float64)
        self._weight = 0.0

    def add(self, inputs: LayerInput, weights: torch.Tensor | None = None) -> None:
        """All positions of a pass; `weights` are theirs, 1 by default."""
        start = 0
        for x in inputs.parts():
            part = None if weights is None else weights[start : start + x.shape[2]].to(x.dtype)
            scaled = x if part is None else x * part
            self._second = self._second + (scaled @ x.mT).double()
            self._first = self._first + scaled.sum(2, dtype=torch.float64)
            self._weight += x.shape[2] if part is None else float(part.sum(dtype=torch.float64))
            start += x.shape[2]

    def moments(self) -> Moments:
        """What has been summed so far; of nothing seen, zeros."""
        scale = 1 / self._weight if self._weight else 0.0
        return Moments(self._second * scale, self._first * scale)


class PairedSums:
    """Sums for `PairedMoments`."""

    def __init__(self) -> None:
        self._original, self._other = MomentSums(), MomentSums()
        self._cross = torch.zeros((), dtype=torch.float64)
        self._weight = 0.0

    def add(
        self, original: LayerInput, other: LayerInput, weights: torch.Tensor | None = None
    ) -> None:
        """The same examples in both networks."""
        self._original.add(original, weights)
        self._other.add(other, weights)
        start = 0
        for x, y in zip(original.parts(), other.parts(), strict=True):
            part = None if weights is None else weights[start : start + x.shape[2]].to(x.dtype)
            self._cross = self._cross + ((x if part is None else x * part) @ y.mT).double()
            self._weight += x.shape[2] if part is None else float(part.sum(dtype=torch.float64))
            start += x.shape[2]

    def moments(self) -> PairedMoments:
        """What has been summed so far."""
        scale = 1 / self._weight if self._weight else 0.0
        return PairedMoments(self._original.moments(), self._other.moments(), self._cross * scale)


def _about(second: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return second - left.unsqueeze(2) * right.unsqueeze(1)
