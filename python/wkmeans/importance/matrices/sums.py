"""What whole importance matrices are made of, summed over examples, layer by layer."""

from __future__ import annotations

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
    positions : int
        How many there were, in each group.
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
    positions: int
    probes: int
    shape: tuple[int, ...]
    is_transposed: bool

    def __add__(self, other: LayerSums) -> LayerSums:
        return replace(
            self,
            second=self.second + other.second.to(self.second.device),
            squares=self.squares + other.squares.to(self.squares.device),
            fourths=self.fourths + other.fourths.to(self.fourths.device),
            positions=self.positions + other.positions,
        )

    def signature(self) -> tuple[Any, ...]:
        """What two have to have in common to be added."""
        shapes = tuple(self.second.shape), tuple(self.squares.shape), self.shape
        return *shapes, self.probes, self.is_transposed

    @property
    def is_exact(self) -> bool:
        """Whether the derivatives do not vary, so that they and the inputs factorise."""
        n = self.positions * self.probes
        return bool((self.fourths * n - self.squares**2 <= _CONSTANT * self.squares**2).all())


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
        positions,
        probes,
        shape,
        found.layer.transposed,
    )


def stacked(blocks: list[LayerSums]) -> LayerSums | None:
    """Blocks of rows as groups of one layer; None where they differ in size or positions."""
    first = blocks[0]
    if any((b.signature(), b.positions) != (first.signature(), first.positions) for b in blocks):
        return None
    return replace(
        first,
        second=torch.cat([block.second for block in blocks]),
        squares=torch.cat([block.squares for block in blocks]),
        fourths=torch.cat([block.fourths for block in blocks]),
    )
