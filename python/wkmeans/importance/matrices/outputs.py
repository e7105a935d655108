"""How much each output of a layer matters: squared derivatives, summed over positions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from wkmeans.importance.first.engine import Engine
from wkmeans.importance.losses.losses import Loss, Probes
from wkmeans.importance.matrices.layers import deltas_of, inputs_of
from wkmeans.importance.model.batches import Inputs

_PROBES = 2


def output_importances(
    engine: Engine, batches: Sequence[Inputs], loss: Loss, names: Collection[str], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Fisher's importance of each output, ``(groups, outputs)``, of the layers with these weights.

    The mean over examples of the sum over positions, from random probes of each example's output:
    the examples average what they leave uncertain.
    """
    totals: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(seed)
    count = 0
    for batch in batches:
        for part in _parts(engine, batch):
            count += len(part)
            outputs, uses, _ = engine.run(part)
            seeds = loss.fisher_seeds(outputs.detach(), None, Probes(_PROBES, generator))
            vectors, _, scale = seeds.normalised(slice(0, seeds.count))
            chosen = []
            for use in uses:
                found = inputs_of(use)
                if found is not None and found.layer.slot.name in names:
                    chosen.append((found.layer.slot.name, use))
            deltas = engine.back_propagate(outputs, [use for _, use in chosen], vectors)
            for (name, use), delta in zip(chosen, deltas, strict=True):
                if delta is not None:
                    squares = deltas_of(use, delta.detach()).square().sum((0, 3)).double() * scale
                    totals[name] = totals[name] + squares if name in totals else squares
    return {name: total / count for name, total in totals.items()}


def _parts(engine: Engine, batch: Inputs) -> list[Inputs]:
    """Examples whose derivatives fit what is held at one time."""
    size = engine.record(batch[:2]).fitting(_PROBES)
    return [batch[start : start + size] for start in range(0, len(batch), size)]
