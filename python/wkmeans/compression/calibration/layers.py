"""The layers of a network that have a matrix, and how much their outputs matter.

Which takes derivatives, and is the same whatever weights are quantised to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from wkmeans._free_memory import give_back
from wkmeans.compression.calibration.passes import met_once
from wkmeans.importance.first.engine import Engine
from wkmeans.importance.first.tape import Use
from wkmeans.importance.losses.losses import Loss
from wkmeans.importance.matrices.layers import inputs_of
from wkmeans.importance.matrices.outputs import output_importances
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import Forward, FunctionalModel
from wkmeans.importance.model.lease import lend


@dataclass(frozen=True)
class Layers:
    """What calibration examples show of a network's layers before any of them changes.

    Attributes
    ----------
    model : FunctionalModel
    names : list of str
        The parameters that have a matrix, in the order of execution.
    free_biases : set of str
        Parameters that one use alone has.
    once : set of str
        Weights that one use multiplies by.
    outputs : dict
        Fisher's importance of each output of a layer, by the name of its weight.
    """

    model: FunctionalModel
    names: list[str]
    free_biases: set[str]
    once: set[str]
    outputs: Mapping[str, torch.Tensor]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Sequence[Inputs],
        forward: Forward | None,
        names: Collection[str],
        loss: Loss,
    ) -> Layers:
        """Those of the parameters named, by one pass and the derivatives of all examples."""

        def look() -> Layers:
            functional = FunctionalModel.of(model, lambda _, p: p.is_floating_point(), forward)
            engine = Engine(functional)
            with functional.no_randomness():
                uses = engine.run(inputs[0])[1]
            multiplying = _multiplying(uses, names)
            free_biases, once = _used_once(uses), met_once(uses)
            del uses  # and all that its pass computed
            outputs = output_importances(engine, inputs, loss, multiplying)
            return cls(functional, multiplying, free_biases, once, outputs)

        found = lend(model, look)
        give_back()
        return found


def _multiplying(uses: Sequence[Use], names: Collection[str]) -> list[str]:
    """Parameters that multiply inputs in one way wherever used, in the order of their first use."""
    everywhere = Counter(slot.name for use in uses for slot in use.slots.values())
    ways: dict[str, Counter[tuple[int, int, int, bool]]] = {}
    for use in uses:
        found = inputs_of(use)
        if found is not None and found.layer.slot.rows is None:
            layer = found.layer
            way = layer.groups, layer.outputs, layer.inputs, layer.transposed
            ways.setdefault(layer.slot.name, Counter())[way] += 1
    return [n for n, seen in ways.items() if n in names and [*seen.values()] == [everywhere[n]]]


def _used_once(uses: Sequence[Use]) -> set[str]:
    counts = Counter(slot.name for use in uses for slot in use.slots.values())
    return {name for name, count in counts.items() if count == 1}
