"""What layers multiply in two networks at once: the original, and one whose weights change."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from wkmeans.importance.first.engine import Engine
from wkmeans.importance.first.tape import Use
from wkmeans.importance.matrices.layers import LayerInput, inputs_of
from wkmeans.importance.matrices.walk import Walk, input_at, weight_of
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import FunctionalModel
from wkmeans.importance.model.lease import lend

_log = logging.getLogger(__name__)

_HELD_BYTES = 2**30
"""What passes that wait at a layer hold, by estimate."""
_MOST_HELD = 32
"""Batches whose passes wait, as torch starts threads of its own for every one that computes."""

Pair = tuple[LayerInput, LayerInput]


@dataclass(frozen=True)
class Plan:
    """What one pass has shown of the weights that are met in it one by one.

    Attributes
    ----------
    bytes_at : dict of str to float
        Of weights that one use multiplies by: what a pass that waits there holds of an example, by
        estimate.
    """

    bytes_at: Mapping[str, float]

    @classmethod
    def of(cls, uses: Sequence[Use], n_examples: int) -> Plan:
        """From the uses of so many examples, in order."""
        counts = Counter(slot.name for use in uses for slot in use.slots.values())
        found: dict[str, float] = {}
        for use in uses:
            name = weight_of(use)
            # What a recurrent layer multiplies its states by, only its result shows.
            if name is not None and counts[name] == 1 and use.rule.at is None:
                # What the layer reads and gives, and as much that goes past it.
                found[name] = 2 * _bytes_at(use) / n_examples
        return cls(found)

    def n_held(self, name: str, inputs: Sequence[Inputs], n_networks: int) -> int:
        """How many batches' passes may wait at this weight."""
        held = 0.0
        for n, batch in enumerate(inputs[:_MOST_HELD]):
            held += n_networks * self.bytes_at[name] * len(batch)
            if held > _HELD_BYTES:
                return n
        return min(len(inputs), _MOST_HELD)


class Passes:
    """Both networks over the same batches, from layer to layer; a context manager.

    One forward pass of each network serves all layers, for the batches whose passes may be held at
    one time. For others, and for weights that are used more than once, there is one for each layer.

    Parameters
    ----------
    model : FunctionalModel
    inputs : sequence of Inputs
    plan : Plan
    changes : bool
        Whether the other network is to change; else it is the original.
    """

    def __init__(
        self, model: FunctionalModel, inputs: Sequence[Inputs], plan: Plan, *, changes: bool = True
    ) -> None:
        self._model, self._inputs, self._plan = model, inputs, plan
        self._networks = [_own(model.parameters) for _ in range(2 if changes else 1)]
        self._awaited = set(plan.bytes_at)
        self._walks: dict[int, list[Walk]] = {}
        self._is_copied = True

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        for position in list(self._walks):
            self._end(position)

    def inputs_of(self, name: str) -> Iterator[Pair]:
        """What the layer of this weight multiplies in the original and in the other, by batch."""
        if name in self._plan.bytes_at:
            self._hold(self._plan.n_held(name, self._inputs, len(self._networks)))
        for position in range(len(self._inputs)):
            yield from lend(self._model.module, partial(self._inputs_in, position, name))
        self._awaited.discard(name)

    def change(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Give parameters of the other network other values."""
        for name, tensor in tensors.items():
            self._networks[-1][name].data = tensor.detach()

    def _hold(self, count: int) -> None:
        """So many of the batches' passes: those that went further are begun again or ended."""
        for position in [position for position in self._walks if position >= count]:
            self._end(position)
        for position in range(count if self._is_copied else 0):
            if position not in self._walks:
                self._begin(position)

    def _begin(self, position: int) -> None:
        try:
            models = [lend(self._model.module, self._model.replica) for _ in self._networks]
        except Exception as error:  # whatever the module's own copying raises
            _log.info("a pass to each layer, as the model cannot be copied: %s", error)
            self._is_copied = False
            return
        self._walks[position] = [
            Walk(model, network, self._inputs[position], self._awaited)
            for model, network in zip(models, self._networks, strict=True)
        ]

    def _end(self, position: int) -> None:
        for walk in self._walks[position]:
            walk.close()
        del self._walks[position]

    def _inputs_in(self, position: int, name: str) -> list[Pair]:
        find = self._only_input if name in self._plan.bytes_at else self._every_input
        each = [find(position, network, name) for network in range(len(self._networks))]
        one, other = each[0], each[-1]
        if _shapes(one) != _shapes(other):  # routed otherwise: what changed is all there is
            one = other
        return list(zip(one, other, strict=True))

    def _only_input(self, position: int, network: int, name: str) -> list[LayerInput]:
        found = self._walks[position][network].to(name) if position in self._walks else None
        if found is None:
            leaves = self._networks[network]
            found = input_at(self._model, leaves, self._inputs[position], name)
        return [] if found is None else [found]

    def _every_input(self, position: int, network: int, name: str) -> list[LayerInput]:
        engine = Engine(self._model.with_parameters(self._networks[network]))
        _, uses, _ = engine.run(self._inputs[position])
        found = (inputs_of(use) for use in uses if weight_of(use) == name)
        return [one for one in found if one is not None]


def _shapes(inputs: Sequence[LayerInput]) -> list[tuple[int, ...]]:
    return [tuple(one.factor.shape) for one in inputs]


def _own(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that can be given other values."""
    return {name: parameter.detach() for name, parameter in parameters.items()}


def _bytes_at(use: Use) -> int:
    source = use.arguments.get("input")
    return use.output_bytes + (source.nbytes if isinstance(source, torch.Tensor) else 0)
