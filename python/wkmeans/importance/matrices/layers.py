"""Weights that multiply inputs, whatever module they belong to: rows of outputs, columns of inputs.

A linear layer, a convolution of any groups, stride and dilation, GPT-2's transposed ``Conv1D``, the
projections within attention and recurrent layers are all this, as the analytic rules show them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from wkmeans.importance.first.products import Factor, Products
from wkmeans.importance.first.tape import Slot, Use
from wkmeans.importance.model.layout import Layout

_BYTES_AT_ONCE = 64 * 2**20  # of inputs, windows copied out


@dataclass(frozen=True)
class Layer:
    """A weight, or a block of its rows, as ``groups`` matrices of ``outputs`` rows each.

    ``transposed``: the parameter holds inputs first. ``bias`` is what is added to the outputs.
    """

    slot: Slot
    groups: int
    outputs: int
    inputs: int
    transposed: bool = False
    bias: Slot | None = None

    def matrices(self, weight: torch.Tensor) -> torch.Tensor:
        """``(groups, outputs, inputs)`` of the parameter, or of a tensor of its shape."""
        block = weight[slice(*self.slot.rows)] if self.slot.rows else weight
        if self.transposed:
            return block.reshape(1, self.inputs, self.outputs).mT
        return block.reshape(self.groups, self.outputs, self.inputs)

    def restored(self, matrices: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """``(groups, outputs, inputs)`` in the layout of a parameter of `shape`, a whole one."""
        return (matrices.mT if self.transposed else matrices).reshape(shape)


@dataclass(frozen=True)
class LayerInput:
    """What a layer multiplied in one forward pass.

    ``most`` bounds the positions of an example that are looked at: more of one image's windows say
    little that some of them do not. Which ones hangs on their number alone, so that two passes over
    the same examples pair.
    """

    layer: Layer
    factor: Factor
    most: int | None = None

    def parts(self) -> Iterator[torch.Tensor]:
        """The inputs, ``(groups, inputs, positions)``, a bounded number of positions at a time."""
        _, examples, groups, rows, positions = self.factor.shape
        some = _some(positions, self.most) if self.most and positions > self.most else None
        kept = positions if some is None else len(some)
        step = max(1, _BYTES_AT_ONCE // max(1, groups * rows * kept * self.factor.dtype.itemsize))
        for start in range(0, examples, step):
            values = self._values(slice(start, start + step), some)
            yield values.permute(1, 2, 0, 3).reshape(groups, rows, -1)

    def _values(self, examples: slice, positions: torch.Tensor | None) -> torch.Tensor:
        """``(examples, groups, rows, positions)``; windows are copied out for those alone."""
        if positions is None:
            return self.factor.cut(slice(None), examples)[0]
        view = self.factor.view[0, examples]
        axes = view.shape[2 + self.factor.n_row_axes :]
        places: tuple[Any, ...] = (..., *torch.unravel_index(positions, axes))
        return view[places].flatten(2, -2)


def _some(n: int, kept: int) -> torch.Tensor:
    """So many of n positions, in order, without a pattern that could be the data's own."""
    generator = torch.Generator().manual_seed(n)
    return torch.randperm(n, generator=generator)[:kept].sort().values


def inputs_of(use: Use) -> LayerInput | None:
    """The layer that a use is, and its inputs; None where it is something else."""
    found = _products(use, torch.zeros((), dtype=torch.float32).expand(1, *use.output_shape))
    if found is None:
        return None
    argument, products = found
    transposed = products.inputs == "left"
    factor = products.left if transposed else products.right
    other = products.right if transposed else products.left
    bias = use.slots.get("bias")
    layer = Layer(
        use.slots[argument], factor.shape[2], other.shape[3], factor.shape[3], transposed, bias
    )
    return LayerInput(layer, factor)


def deltas_of(use: Use, delta: torch.Tensor) -> torch.Tensor:
    """Derivatives at a layer's outputs, ``(seeds, groups, outputs, positions)``, as inputs pair."""
    found = _products(use, delta)
    if found is None:
        raise ValueError("expected a use that multiplies inputs")
    products = found[1]
    values = (products.right if products.inputs == "left" else products.left).cut(
        slice(None), slice(None)
    )
    seeds, _, groups, outputs, _ = values.shape
    return values.permute(0, 2, 3, 1, 4).reshape(seeds, groups, outputs, -1)


def _products(use: Use, delta: torch.Tensor) -> tuple[str, Products] | None:
    """The argument that multiplies inputs, and the product that is its gradient."""
    lead = len(use.lead)
    if not use.rule.arguments or not lead:
        return None
    n = use.lead[0]
    deltas = Layout.MAJOR.split(delta.float(), n, lead, batched=1)
    for slot, contribution in use.contributions(
        deltas, lambda tensor: Layout.MAJOR.split(tensor, n, lead)
    ):
        if isinstance(contribution, Products) and contribution.inputs:
            argument = next(a for a, other in use.slots.items() if other is slot)
            return argument, contribution
    return None
