"""What whole importance matrices are made of, summed over examples, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from wkmeans.importance.matrices.layers import LayerInput

_CONSTANT = 1e-5
"""Squared derivatives that vary by less are constant: they are single precision."""


@dataclass(frozen=True)
class LayerSums:
    """Sums of one parameter's layer; those of blocks of its rows one behind the other, as groups.

    Attributes
    ----------
    second : float64 tensor (groups, inputs, inputs)
        Of ``x x'`` over positions.
    squares, fourths : float64 tensor (groups, outputs)
        Of squared derivatives at outputs and of their squares, over positions and probes.
    positions : tuple of int
        How many there were, for each group.
    probes : int
        How many random vectors each example's derivatives are of; the mean of their squares counts.
    shape : tuple of int
        Of the parameter.
    is_transposed : bool
        It holds inputs first.
    """

    second: torch.Tensor
    squares: torch.Tensor
    fourths: torch.Tensor
    positions: tuple[int, ...]
    probes: int
    shape: tuple[int, ...]
    is_transposed: bool

    def __add__(self, other: LayerSums) -> LayerSums:
        return replace(
            self,
            second=self.second + other.second.to(self.second.device),
            squares=self.squares + other.squares.to(self.squares.device),
            fourths=self.fourths + other.fourths.to(self.fourths.device),
            positions=tuple(a + b for a, b in zip(self.positions, other.positions, strict=True)),
        )

    def signature(self) -> tuple[Any, ...]:
        """What two have to have in common to be added."""
        shapes = tuple(self.second.shape), tuple(self.squares.shape), self.shape
        return *shapes, self.probes, self.is_transposed

    @property
    def is_exact(self) -> bool:
        """Whether the derivatives do not vary, so that they and the inputs factorise."""
        n = self.squares.new_tensor(self.positions).unsqueeze(1) * self.probes
        return bool((self.fourths * n - self.squares**2 <= _CONSTANT * self.squares**2).all())

    @property
    def matrix(self) -> torch.Tensor:
        """The mean of ``x x'``."""
        return self.second / self.second.new_tensor(self.positions)[:, None, None]

    def split(self, outputs: int) -> LayerSums:
        """The same rows as more groups, of so many outputs each."""
        groups, rows = self.squares.shape
        times = rows // outputs
        return replace(
            self,
            second=self.second.repeat_interleave(times, 0),
            squares=self.squares.reshape(groups * times, outputs),
            fourths=self.fourths.reshape(groups * times, outputs),
            positions=tuple(n for n in self.positions for _ in range(times)),
        )


def sums_of(found: LayerInput, squares: torch.Tensor, shape: tuple[int, ...]) -> LayerSums:
    """Of one use of a layer, a parameter of `shape`; its inputs' products are double."""
    second, positions = torch.zeros((), dtype=torch.float64), 0
    for x in found.parts():
        wide = x.double()
        second = second + wide @ wide.mT
        positions += x.shape[2]
    probes = len(squares)
    each = squares.double() * probes  # each probe estimates what all of them add up to
    return LayerSums(
        second,
        each.sum((0, 3)),
        each.square().sum((0, 3)),
        (positions,) * len(squares[0]),
        probes,
        shape,
        found.layer.transposed,
    )


def stacked(blocks: list[LayerSums]) -> LayerSums | None:
    """Blocks of rows as groups of one layer; None where they multiply inputs of different sizes."""
    if len({block.second.shape[-1] for block in blocks}) > 1:
        return None
    outputs = math.gcd(*(block.squares.shape[1] for block in blocks))
    groups = [block.split(outputs) for block in blocks]
    return replace(
        groups[0],
        second=torch.cat([group.second for group in groups]),
        squares=torch.cat([group.squares for group in groups]),
        fourths=torch.cat([group.fourths for group in groups]),
        positions=tuple(n for group in groups for n in group.positions),
    )
