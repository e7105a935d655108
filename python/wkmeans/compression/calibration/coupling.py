"""How errors at one output of a layer add to those at another, or make up for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from wkmeans.compression.calibration.objective import FloatArray, Settings, outputs_floored
from wkmeans.importance.first.engine import Engine
from wkmeans.importance.losses.losses import Loss
from wkmeans.importance.matrices.outputs import output_products
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import Forward, FunctionalModel
from wkmeans.importance.model.lease import lend

_MOST_OUTPUTS = 2048  # what is fed back from row to row takes their square for each input


@dataclass(frozen=True)
class Couplings:
    """Of the layers of a network, for any settings."""

    model: nn.Module
    inputs: Sequence[Inputs]
    forward: Forward | None
    loss: Loss

    def under(self, settings: Settings) -> dict[str, FloatArray]:
        """``G_rs / sqrt(G_rr G_ss)`` of layers of one group, ``(outputs, outputs)``.

        Fisher's products of derivatives over the roots of what outputs' importances become with
        their floor, and a share of that.
        """
        if not settings.coupling:
            return {}
        return {name: _coupling(found, settings).numpy() for name, found in self._products.items()}

    @cached_property
    def _products(self) -> dict[str, torch.Tensor]:
        def products() -> dict[str, torch.Tensor]:
            functional = FunctionalModel.of(
                self.model, lambda _, p: p.is_floating_point(), self.forward
            )
            return output_products(Engine(functional), self.inputs, self.loss, _MOST_OUTPUTS)

        return {name: found.cpu() for name, found in lend(self.model, products).items()}


def _coupling(products: torch.Tensor, settings: Settings) -> torch.Tensor:
    importances = outputs_floored(products.diagonal(), settings.floor)
    roots = torch.where(importances > 0, importances, 1.0).sqrt()
    return (settings.coupling * products / torch.outer(roots, roots)).fill_diagonal_(1.0)
