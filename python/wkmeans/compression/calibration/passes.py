"""What layers multiply in two networks at once: the original, and one whose weights change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

import torch

from wkmeans.importance.first.engine import Engine
from wkmeans.importance.first.tape import Use
from wkmeans.importance.matrices.layers import LayerInput, inputs_of
from wkmeans.importance.matrices.trail import Trail
from wkmeans.importance.matrices.walk import input_at, weight_of
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import FunctionalModel
from wkmeans.importance.model.lease import lend

Pair = tuple[LayerInput, LayerInput]


def met_once(uses: Sequence[Use]) -> set[str]:
    """Weights that one use multiplies by, of those that a pass has shown."""
    counts = Counter(slot.name for use in uses for slot in use.slots.values())
    # What a recurrent layer multiplies its states by, only its result shows.
    names = {weight_of(use) for use in uses if use.rule.at is None}
    return {name for name in names if name is not None and counts[name] == 1}


class Passes:
    """Both networks over the same batches, from layer to layer.

    A pass to a layer goes on from where an earlier one ended, the last whose values there was room
    to hold.

    Parameters
    ----------
    model : FunctionalModel
    inputs : sequence of Inputs
    names : collection of str
        The weights that are asked for.
    once : collection of str
        Those that are met once in a pass; all uses of others are looked for, in a whole pass.
    most_bytes : int
        What may be held for passes to go on from.
    changes : bool
        Whether the other network is to change; else it is the original.
    """

    def __init__(
        self,
        model: FunctionalModel,
        inputs: Sequence[Inputs],
        names: Collection[str],
        once: Collection[str],
        most_bytes: int,
        *,
        changes: bool = True,
    ) -> None:
        self._model, self._inputs = model, inputs
        self._networks = [_own(model.parameters) for _ in range(2 if changes else 1)]
        self._awaited, self._once = set(names), once
        self._trails: dict[tuple[int, int], Trail] = {}
        self._most_bytes = most_bytes

    @property
    def nbytes(self) -> int:
        """What is held."""
        return sum(trail.nbytes for trail in self._trails.values())

    def inputs_of(self, name: str) -> Iterator[Pair]:
        """What the layer of this weight multiplies in the original and in the other, by batch."""
        for position in range(len(self._inputs)):
            yield from lend(self._model.module, partial(self._inputs_in, position, name))
        self._awaited.discard(name)

    def change(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Give parameters of the other network other values."""
        changed = [self._networks[-1][name] for name in tensors]
        for one, tensor in zip(changed, tensors.values(), strict=True):
            one.data = tensor.detach()
        read = set(map(id, changed))  # parameters are looked at elsewhere than in their layers
        self._trails = {k: trail for k, trail in self._trails.items() if not trail.read & read}

    def _inputs_in(self, position: int, name: str) -> list[Pair]:
        find = self._only_input if name in self._once else self._every_input
        each = [find(position, network, name) for network in range(len(self._networks))]
        one, other = each[0], each[-1]
        if _shapes(one) != _shapes(other):  # routed otherwise: what changed is all there is
            one = other
        return list(zip(one, other, strict=True))

    def _only_input(self, position: int, network: int, name: str) -> list[LayerInput]:
        before = self._trails.pop((position, network), None)
        found, trails = input_at(
            name,
            self._model,
            self._networks[network],
            self._inputs[position],
            self._awaited,
            before,
        )
        room = self._most_bytes - self.nbytes
        for one in trails:
            if one.nbytes <= room:
                self._trails[position, network] = one
                break
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
