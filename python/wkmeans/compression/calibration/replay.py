"""A network compressed layer after layer, each against the inputs that those before it give.

Layers are taken in the order of execution. What a layer
is to reach is not its own weights but those that make the best of the inputs it will meet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from wkmeans._free_memory import give_back
from wkmeans.compression.calibration.objective import (
    FloatArray,
    Settings,
    Target,
    attainable,
    damped,
    outputs_floored,
    rebalanced_bias,
    unseen_outputs,
)
from wkmeans.compression.calibration.passes import Passes, met_once
from wkmeans.importance.first.engine import Engine
from wkmeans.importance.first.tape import Use
from wkmeans.importance.losses.losses import Loss
from wkmeans.importance.matrices.layers import Layer, LayerInput, inputs_of
from wkmeans.importance.matrices.moments import Moments, MomentSums
from wkmeans.importance.matrices.outputs import output_importances
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import Forward, FunctionalModel
from wkmeans.importance.model.lease import lend

_POSITIONS = 128
"""Positions that are looked at for each input of a layer, where there are more."""
_LEAST_HELD = 2**26
"""Bytes that passes may hold; of models whose weights take more, as much as they do."""

Quantise = Callable[[Target], FloatArray]
"""From what is to be reached to the values that are stored."""


class Replay:
    """One network and its calibration examples, compressed as often as is asked for."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Sequence[Inputs],
        forward: Forward | None,
        names: Collection[str],
        loss: Loss,
        settings: Settings,
        couplings: Mapping[str, FloatArray],
    ) -> None:
        self._inputs = inputs
        self._couplings = couplings
        self._settings = settings
        self.unseen: dict[str, tuple[int, ...]] = {}
        """Outputs by the parameter whose first axis they are, as targets find them."""
        self.importances: dict[str, float] = {}
        """What the importances of a layer's weights add up to, as targets find them."""
        lend(model, lambda: self._look_at(model, forward, names, loss))
        give_back()

    def _look_at(
        self, model: nn.Module, forward: Forward | None, names: Collection[str], loss: Loss
    ) -> None:
        """Find the layers in order, and how much their outputs matter."""
        self._model = FunctionalModel.of(model, lambda _, p: p.is_floating_point(), forward)
        engine = Engine(self._model)
        with self._model.no_randomness():
            uses = engine.run(self._inputs[0])[1]
        self.names = _multiplying(uses, names)
        """The parameters that have a matrix, in the order they are quantised."""
        self._free_biases = _used_once(uses)
        self._once = met_once(uses)
        del uses  # and all that its pass computed
        self._outputs = output_importances(engine, self._inputs, loss, self.names)

    def run(self, quantise: Quantise) -> dict[str, torch.Tensor]:
        """Quantise every layer in turn: its new values, and those of biases that make up for it."""
        changed: dict[str, torch.Tensor] = {}
        passes = self._passes(changes=True)
        for name in self.names:
            found = self._solved(name, passes.inputs_of(name), quantise)
            passes.change(found)
            changed |= found
            give_back()
        return changed

    def original_targets(self) -> Iterator[Target]:
        """Every layer's in turn, were the inputs it meets the original's."""
        passes = self._passes(changes=False)
        for name in self.names:
            yield self._target(name, *self._moments(passes.inputs_of(name)))
            give_back()

    def _passes(self, *, changes: bool) -> Passes:
        weights = sum(parameter.nbytes for parameter in self._model.parameters.values())
        most_bytes = max(weights, _LEAST_HELD)
        return Passes(
            self._model, self._inputs, self.names, self._once, most_bytes, changes=changes
        )

    def _moments(self, inputs: Iterable[tuple[LayerInput, LayerInput]]) -> tuple[Layer, Moments]:
        """About the means where the layer's bias makes up for these."""
        sums = MomentSums()
        for x, y in inputs:
            one = self._bounded(x)
            sums.add(one, one if y is x else self._bounded(y))
        give_back()  # what passes have left behind, before anything is solved
        layer, moments = one.layer, sums.moments()
        del sums
        return layer, moments.centred() if self._corrects(layer) else moments

    def _bounded(self, found: LayerInput) -> LayerInput:
        enough = _POSITIONS * found.layer.inputs
        return replace(found, most=-(-enough // sum(map(len, self._inputs))))

    def _corrects(self, layer: Layer) -> bool:
        """Whether the layer has a bias that can make up for means."""
        bias = layer.bias
        return bias is not None and bias.rows is None and bias.name in self._free_biases

    def _target(self, name: str, layer: Layer, moments: Moments) -> Target:
        """What is to be reached."""
        weights = layer.matrices(self._model.parameters[name].double())
        return Target(
            name,
            layer,
            attainable(weights, moments, self._settings.ridge).numpy(),
            damped(moments.second, self._settings.damping).numpy(),
            self._output_importance(name, layer, moments).numpy(),
            self._couplings.get(name),
        )

    def _solved(
        self, name: str, inputs: Iterable[tuple[LayerInput, LayerInput]], quantise: Quantise
    ) -> dict[str, torch.Tensor]:
        parameter = self._model.parameters[name]
        layer, moments = self._moments(inputs)
        target = self._target(name, layer, moments)
        means = moments.original_first, moments.first
        del moments  # which take as much as all that the layer is quantised by
        values = torch.from_numpy(quantise(target))
        stored = layer.restored(values, tuple(parameter.shape)).to(parameter.dtype)
        found = {name: stored}
        if layer.bias is not None and self._corrects(layer):
            found[layer.bias.name] = rebalanced_bias(
                self._model.parameters[layer.bias.name],
                layer.matrices(parameter.double()),
                layer.matrices(stored.double()),
                *means,
            )
        return found

    def _output_importance(self, name: str, layer: Layer, moments: Moments) -> torch.Tensor:
        """``g``: with S, Fisher's importances were derivatives and inputs independent."""
        g = self._outputs.get(name, torch.zeros(1, dtype=torch.float64)).expand(
            layer.groups, layer.outputs
        )
        self.importances[name] = float((g * moments.original_energy[:, None]).sum())
        if not self.importances[name] > 0:
            return torch.ones(layer.groups, layer.outputs, dtype=torch.float64)
        rows = layer.groups * layer.outputs
        if (
            self._settings.floor
            and not layer.transposed
            and rows == len(self._model.parameters[name])
        ):
            self.unseen[name] = tuple(unseen_outputs(g).flatten().nonzero().flatten().tolist())
        return outputs_floored(g, self._settings.floor)


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
