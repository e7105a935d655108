"""How much each output of a layer matters: squared derivatives, summed over positions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from wkmeans.importance.first.engine import Engine
from wkmeans.importance.losses.losses import Loss, Probes
from wkmeans.importance.matrices.layers import LayerInput, deltas_of, inputs_of
from wkmeans.importance.model.batches import Inputs

_PROBES, _PROBES_OF_PRODUCTS = 2, 8


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
        count += len(batch)
        for found, squares in squares_of(engine, batch, loss, generator):
            name = found.layer.slot.name
            if name in names:
                more = squares.sum((0, 3)).double()
                totals[name] = totals[name] + more if name in totals else more
    return {name: total / count for name, total in totals.items()}


def output_products(
    engine: Engine,
    batches: Sequence[Inputs],
    loss: Loss,
    most_outputs: int,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Products of derivatives at two outputs of a layer, ``(outputs, outputs)``, float64.

    The mean over examples of the sum over positions, as `output_importances` has the squares, which
    are the diagonal, but from more probes: there are more products than squares. Layers of one
    group, at most so many outputs and a weight of their own, which no other use takes another way.
    """
    totals: dict[str, torch.Tensor] = {}
    taken_otherwise: set[str] = set()
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        for found, deltas, scale in _deltas_of(engine, batch, loss, generator, _PROBES_OF_PRODUCTS):
            layer, name = found.layer, found.layer.slot.name
            is_whole = layer.groups == 1 and layer.slot.rows is None
            if is_whole and layer.outputs <= most_outputs:
                values = deltas[:, 0].transpose(0, 1).flatten(1)
                more = (values @ values.mT).double() * scale
                total = totals.setdefault(name, torch.zeros_like(more))
                if total.shape == more.shape:
                    total += more
                else:
                    taken_otherwise.add(name)
    count = sum(map(len, batches))
    return {n: total / count for n, total in totals.items() if n not in taken_otherwise}


def squares_of(
    engine: Engine, batch: Inputs, loss: Loss, generator: torch.Generator
) -> Iterator[tuple[LayerInput, torch.Tensor]]:
    """The layers of a batch, and squared derivatives at their outputs by random probes.

    ``(probes, groups, outputs, positions)``, in such a unit that their sum over probes estimates
    Fisher's. Layers that the outputs do not depend on are left out.
    """
    for found, deltas, scale in _deltas_of(engine, batch, loss, generator, _PROBES):
        yield found, deltas.square() * scale


def _deltas_of(
    engine: Engine, batch: Inputs, loss: Loss, generator: torch.Generator, probes: int
) -> Iterator[tuple[LayerInput, torch.Tensor, float]]:
    """The derivatives themselves, and what their squares are to be multiplied by."""
    for part in _parts(engine, batch, probes):
        outputs, uses, _ = engine.run(part)
        seeds = loss.fisher_seeds(outputs.detach(), None, Probes(probes, generator))
        vectors, _, scale = seeds.normalised(slice(0, seeds.count))
        layers = [(use, found) for use in uses if (found := inputs_of(use)) is not None]
        deltas = engine.back_propagate(outputs, [use for use, _ in layers], vectors)
        for (use, found), delta in zip(layers, deltas, strict=True):
            if delta is not None:
                yield found, deltas_of(use, delta.detach()), scale


def used_otherwise(engine: Engine, batch: Inputs) -> set[str]:
    """Parameters that do something else than to multiply inputs, or that too."""
    with engine.model.no_randomness():
        uses = engine.run(batch[:1])[1]
    names = set()
    for use in uses:
        found = inputs_of(use)
        own = set() if found is None else {found.layer.slot}
        names |= {slot.name for slot in use.slots.values() if slot not in own}
    return names


def _parts(engine: Engine, batch: Inputs, probes: int) -> list[Inputs]:
    """Examples whose derivatives fit what is held at one time."""
    size = engine.record(batch[:2]).fitting(probes)
    return [batch[start : start + size] for start in range(0, len(batch), size)]
