"""A network compressed layer after layer, each against the inputs that those before it give.

Layers are taken in the order of execution. What a layer
is to reach is not its own weights but those that make the best of the inputs it will meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from wkmeans._free_memory import give_back
from wkmeans.compression.calibration.layers import Layers
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
from wkmeans.compression.calibration.passes import Passes
from wkmeans.importance.matrices.layers import Layer, LayerInput
from wkmeans.importance.matrices.moments import Moments, MomentSums
from wkmeans.importance.model.batches import Inputs

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
        layers: Layers,
        inputs: Sequence[Inputs],
        settings: Settings,
        couplings: Mapping[str, FloatArray],
    ) -> None:
        self._layers, self._model = layers, layers.model
        self._inputs = inputs
        self._couplings = couplings
        self._settings = settings
        self.names = layers.names
        """The parameters that have a matrix, in the order they are quantised."""
        self.unseen: dict[str, tuple[int, ...]] = {}
        """Outputs by the parameter whose first axis they are, as targets find them."""
        self.importances: dict[str, float] = {}
        """What the importances of a layer's weights add up to, as targets find them."""

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
            self._model, self._inputs, self.names, self._layers.once, most_bytes, changes=changes
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
        """Whether the layer has a bias that makes up for means."""
        bias = layer.bias
        if bias is None or bias.rows is not None or not self._settings.biases:
            return False
        return bias.name in self._layers.free_biases

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
        g = self._layers.outputs.get(name, torch.zeros(1, dtype=torch.float64)).expand(
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
