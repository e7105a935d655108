"""Codebooks and vectors moved so that a whole network's outputs diverge least; labels stay.

Layers are quantised one by one. What their numbers, all together, make of the outputs is what
derivatives of these say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from wkmeans._free_memory import give_back
from wkmeans.compression._model import CompressedModel
from wkmeans.compression.calibration.batches import shuffled, some_of_all
from wkmeans.compression.calibration.divergence import Judge
from wkmeans.compression.calibration.movable import MovableNetwork
from wkmeans.compression.calibration.numbers import Numbers
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import Forward

_BATCH = 16
"""Examples of a step, at least."""
_EPOCHS, _MOST_STEPS = 4, 300
_LARGE = 1 << 25
"""Networks of more weights have one epoch: it takes long there, and gains most of what four do."""
_DISTURBANCE = 0.03
"""Of the divergence: what a step adds to it were its directions random. Networks bear steps of very
different lengths; from longer ones they do not recover."""
_LONGEST = 0.03  # of a tensor's root mean square
_FIRST = 1e-3
_TRIALS, _TRIED_ON = 4, 32  # of lengths, and the examples that they are tried on
_CLOSE = 1.4  # to the length sought
_FARTHEST = 30.0  # from one trial to the next, where costs are hardly quadratic


@dataclass(frozen=True)
class Tuner:
    """A network and the examples that it is tuned on.

    Attributes
    ----------
    model : torch.nn.Module
    inputs : list of Inputs
    loss : {"cross_entropy", "mse"}
        Which divergence, as for `Judge`.
    forward : callable or None
    vectors : collection of str
        Parameters that stay dense and may be moved.
    """

    model: nn.Module
    inputs: list[Inputs]
    loss: str
    forward: Forward | None
    vectors: Collection[str]

    def tuned(self, compressed: CompressedModel) -> CompressedModel:
        """The same labels with other numbers, by Adam (Kingma and Ba, 2015)."""
        network = MovableNetwork(self.model, self.loss, self.forward, compressed, self.vectors)
        groups = self._groups(network)
        if not groups:
            return compressed
        optimizer = torch.optim.Adam(groups, eps=1e-30)
        schedule = CosineAnnealingLR(optimizer, self._steps)
        for examples in islice(self._batches(), self._steps):
            optimizer.zero_grad()
            network.derive(examples)
            optimizer.step()
            schedule.step()
        give_back()
        return compressed.with_tensors(network.stored())

    @property
    def _steps(self) -> int:
        n_weights = sum(parameter.numel() for parameter in self.model.parameters())
        epochs = 1 if n_weights > _LARGE else _EPOCHS
        return min(epochs * math.ceil(sum(map(len, self.inputs)) / _BATCH), _MOST_STEPS)

    def _groups(self, network: MovableNetwork) -> list[dict[str, object]]:
        trial = Judge(self.model, some_of_all(self.inputs, _TRIED_ON), self.loss, self.forward)
        return [
            {"params": [one.moved for one in group], "lr": _length(network, group, trial)}
            for group in (network.centroids.values(), network.vectors.values())
            if group
        ]

    def _batches(self) -> Iterator[list[Inputs]]:
        """Examples of one step after another, without end, in an order that is always the same."""
        generator = torch.Generator().manual_seed(0)
        while True:
            step: list[Inputs] = []
            for some in shuffled(self.inputs, _BATCH, generator):
                step.append(some)
                if sum(map(len, step)) >= _BATCH:
                    yield step
                    step = []
            if step:
                yield step


def _length(network: MovableNetwork, group: Collection[Numbers], trial: Judge) -> float:
    """How far a step may move numbers."""
    before = trial.divergence(network.tensors())
    length = _FIRST
    for _ in range(_TRIALS):
        added = _disturbed(network, group, trial, length) - before
        ratio = math.sqrt(_DISTURBANCE * before / added) if added > 0 else _FARTHEST
        length *= min(max(ratio, 1 / _FARTHEST), _FARTHEST)
        if 1 / _CLOSE < ratio < _CLOSE or length > _LONGEST:
            break
    return min(length, _LONGEST)


def _disturbed(
    network: MovableNetwork, group: Collection[Numbers], trial: Judge, length: float
) -> float:
    """The divergence with all numbers moved so far, in random directions.

    The mean of one and its opposite, in which the slope between them is no cost.
    """
    generator = torch.Generator().manual_seed(0)
    signs = [2.0 * torch.randint(0, 2, one.moved.shape, generator=generator) - 1 for one in group]
    found = 0.0
    for way in (length, -length):
        for one, of_one in zip(group, signs, strict=True):
            one.moved.copy_(way * of_one)
        found += trial.divergence(network.tensors()) / 2
    for one in group:
        one.moved.zero_()
    return found
