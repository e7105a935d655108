"""What the weights of one part are to reach, stage after stage, as its compressed ones answer.

A stage is the weights that multiply one tensor. Its inputs are those that the stages before give
once compressed, beside the original's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from wkmeans.compression.calibration.objective import (
    Settings,
    Target,
    attainable,
    damped,
    outputs_floored,
    rebalanced_bias,
)
from wkmeans.importance.first.tape import Slot
from wkmeans.importance.matrices.layers import Layer
from wkmeans.importance.matrices.moments import Moments, MomentSums
from wkmeans.transformers.by_block.linear import LinearUse, Watch
from wkmeans.transformers.by_block.ranks import Ranks
from wkmeans.transformers.by_block.sensitivity import Sensitivity

Tensors = dict[str, torch.Tensor]
Run = Callable[[int], object]
"""Sends the batch of a number through the part that is held."""


@dataclass(frozen=True)
class Part:
    """One part of a network, and how to run it.

    Attributes
    ----------
    tensors : dict of tensor
        The original's.
    original, changed : callable
        Run a batch on what enters the part in the original, and in what that becomes.
    n_batches : int
        Which calibrate.
    holding, watching : callable
        As `BlockModel` has them.
    sensitivities : mapping
        By name, of this part's weights among others.
    embedding : str
        The name of the table of input embeddings.
    ranks : Ranks
        Which all look at this part, and share batches and layers.
    """

    tensors: Tensors
    original: Run
    changed: Run
    n_batches: int
    holding: Callable[[Mapping[str, torch.Tensor]], AbstractContextManager[None]]
    watching: Callable[[Callable[[LinearUse], None]], Watch]
    sensitivities: Mapping[str, Sensitivity]
    embedding: str
    settings: Settings
    ranks: Ranks

    def stages(self) -> list[list[Layer]]:
        """Weights that multiply inputs, in the order of execution."""
        seen: list[LinearUse] = []
        with self.holding(self.tensors), torch.no_grad(), self.watching(seen.append):
            self.original(0)
        found: list[list[Layer]] = []
        known: list[LinearUse] = []
        for use in seen:
            if use.name in {other.name for other in known}:
                continue
            if known and use.layer.groups == 1 and use.reads_the_same(known[-1]):
                found[-1].append(use.layer)
            else:
                found.append([use.layer])
            known.append(use)
        return found

    def moments(
        self, stages: Sequence[Sequence[Layer]], changed: Mapping[str, torch.Tensor] | None
    ) -> list[Moments]:
        """Of what each stage multiplies; with `changed` tensors, beside the original's inputs."""
        sums = [[MomentSums() for _ in range(stage[0].groups)] for stage in stages]
        of = {stage[0].slot.name: number for number, stage in enumerate(stages)}
        for before, after in self._all_inputs(of, changed):
            for (number, group), other in (after or before).items():
                one = before.get((number, group))
                # A router that is compressed may send other positions to an expert.
                paired = one is not None and stages[number][0].groups == 1
                sums[number][group].add(one if paired and one is not None else other, other)
        return [
            _stacked(groups, stage[0].inputs) for groups, stage in zip(sums, stages, strict=True)
        ]

    def _all_inputs(
        self, of: Mapping[str, int], changed: Mapping[str, torch.Tensor] | None
    ) -> Iterator[tuple[_Inputs, _Inputs | None]]:
        """Of each batch in order, in the original and in what it becomes; one a rank at once."""

        def both(batch: int) -> tuple[_Inputs, _Inputs | None]:
            before = self._inputs(self.original, self.tensors, batch, of)
            if changed is None:
                return before, None
            return before, self._inputs(self.changed, {**self.tensors, **changed}, batch, of)

        step = self.ranks.number
        for start in range(0, self.n_batches, step):
            yield from self.ranks.share(both, range(start, min(start + step, self.n_batches)))

    def _inputs(
        self, run: Run, tensors: Mapping[str, torch.Tensor], batch: int, of: Mapping[str, int]
    ) -> _Inputs:
        found: _Inputs = {}
        wanted = {name for name in of}

        def tell(use: LinearUse) -> None:
            if use.name in of:
                found[of[use.name], use.group] = _Positions(use.inputs.flatten(0, -2))
                if use.layer.groups == 1:
                    wanted.discard(use.name)
                if not wanted:
                    raise _EnoughError

        with (
            self.holding(tensors), torch.no_grad(), suppress(_EnoughError), self.watching(tell)
        ):  # fmt: skip
            run(batch)
        return found

    def target(self, layer: Layer, moments: Moments, *, drifts: bool) -> Target:
        """Of one weight, from moments of what it multiplies; where that drifted, after it."""
        name = layer.slot.name
        weights = layer.matrices(self.tensors[name].double())
        used = moments.centred() if self._corrects(layer) else moments
        return Target(
            name,
            layer,
            (attainable(weights, used, self.settings.ridge) if drifts else weights).numpy(),
            damped(used.second, self.settings.damping).numpy(),
            self._outputs(name, (layer.groups, layer.outputs)).numpy(),
        )

    def bias_of(self, layer: Layer, stored: torch.Tensor, moments: Moments) -> Tensors:
        """What a layer's bias becomes, once its weight is `stored`; nothing where it has none."""
        if not self._corrects(layer):
            return {}
        assert layer.bias is not None
        name = layer.bias.name
        before, after = (
            layer.matrices(w.double()) for w in (self.tensors[layer.slot.name], stored)
        )
        means = moments.original_first, moments.first
        return {name: rebalanced_bias(self.tensors[name], before, after, *means)}

    def _corrects(self, layer: Layer) -> bool:
        if layer.bias is None or layer.groups != 1 or not self.settings.biases:
            return False
        return layer.bias.name in self.tensors

    def _outputs(self, name: str, shape: tuple[int, int]) -> torch.Tensor:
        known = self.sensitivities.get(name)
        if known is None or not bool(known.outputs.sum() > 0):
            return torch.ones(shape, dtype=torch.float64)
        return outputs_floored(known.outputs.expand(shape), self.settings.floor)

    def table(self, name: str) -> Target:
        """Of rows that are looked up: each weighs as what is read from it does.

        Rows that were not looked up count as the mean of those that were. Of another table than
        that of tokens nothing but the whole is known, which all of its rows share.
        """
        rows, columns = self.tensors[name].shape
        looked_up = self.sensitivities[self.embedding].rows
        if name != self.embedding:
            looked_up = (looked_up.sum() / rows).expand(rows)
        seen = looked_up > 0
        mean = looked_up[seen].mean() if bool(seen.any()) else torch.ones(())
        found = outputs_floored(torch.where(seen, looked_up, mean) / columns, self.settings.floor)
        weights = self.tensors[name].double().numpy()[np.newaxis]
        layer = Layer(Slot(name), 1, rows, columns)
        return Target(name, layer, weights, np.eye(columns)[np.newaxis], found.numpy()[np.newaxis])

    def tied(self, layer: Layer, moments: Moments) -> Target:
        """Of a head that is the table of embeddings too: both uses under one matrix."""
        head = self.target(layer, moments, drifts=False)
        looked_up = float(self.sensitivities[self.embedding].rows.sum())
        share = looked_up / (layer.inputs * head.outputs.sum())
        matrix = head.matrix + share * np.eye(layer.inputs)
        return replace(head, matrix=matrix)


class _EnoughError(Exception):
    """All inputs that were wanted are there."""


@dataclass(frozen=True)
class _Positions:
    """Inputs ``(positions, inputs)`` as `MomentSums` reads them."""

    values: torch.Tensor

    def parts(self) -> Iterator[torch.Tensor]:
        if len(self.values):
            yield self.values.float().T.unsqueeze(0)


_Inputs = dict[tuple[int, int], _Positions]
"""By the numbers of stage and group."""


def _stacked(groups: Sequence[MomentSums], inputs: int) -> Moments:
    """Of all groups; zeros for those that met no input."""
    zero = torch.zeros(1, inputs, dtype=torch.float64)
    square = torch.zeros(1, inputs, inputs, dtype=torch.float64)
    none = Moments(square, square, zero, zero, torch.zeros(1, dtype=torch.float64))
    found = [one.moments() if one.count else none for one in groups]
    if len(found) == 1:
        return found[0]
    return Moments(
        *(torch.cat([getattr(one, kind) for one in found]) for kind in Moments.__annotations__)
    )
