"""Whole importance matrices: layer after layer, by k or by size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wkmeans._free_memory import give_back
from wkmeans._wrappers import plainly_named
from wkmeans.compression._build import Request
from wkmeans.compression._findings import Findings
from wkmeans.compression._floor import DEFAULT_FLOOR, WeighedTensors
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._report import USED
from wkmeans.compression._work import Tensors, Work
from wkmeans.compression.budget.allocation import Choice, PricedSample
from wkmeans.compression.calibration.codebooks import (
    dense_bytes,
    serves,
    why_no_codebooks,
    with_codebooks,
)
from wkmeans.compression.calibration.coupling import Couplings
from wkmeans.compression.calibration.diagonals import Diagonals
from wkmeans.compression.calibration.layers import Layers
from wkmeans.compression.calibration.objective import FloatArray, Settings, Target
from wkmeans.compression.calibration.pruned import pruned
from wkmeans.compression.calibration.replay import Replay
from wkmeans.compression.lattice.coding import TooFineError
from wkmeans.compression.lattice.curve import SizeCurve, level_of
from wkmeans.compression.lattice.quantise import SLOPE, of_several_values
from wkmeans.compression.lattice.ridge import better_on_lattice
from wkmeans.compression.lattice.tensor import lattice_tensor
from wkmeans.compression.source import Source
from wkmeans.compression.tensors.dtypes import as_numpy
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor
from wkmeans.importance.model.batches import Inputs

_ROUNDS = 10
_AIM = 0.996  # of the size asked for
_SLOPE = 1 / 1.5  # of the log of sizes by octaves of the level, near enough at a bit a weight
_FINER = 0.1  # octaves of the level
_JUMP = 0.004  # octaves, in which integers take less than a hundredth more bytes
_MOST_BITS = 12  # a weight, of the level that is tried first


class CannotError(Exception):
    """Why this method does not serve what is asked for."""


@dataclass
class MatrixMethod:
    """One network under the whole importance matrices of its layers.

    `layers` are those of `model`, as `inputs` show them.
    `diagonals` weigh tensors that multiply nothing, with `floor` under them (None: the default).
    `settings` are those of matrices.
    `couplings` are for tensors that are not pruned and have one codebook, or are on a lattice;
    None: outputs are taken one by one.
    """

    model: nn.Module
    source: Source
    request: Request
    inputs: Sequence[Inputs]
    layers: Layers
    diagonals: Diagonals
    floor: float | None
    settings: Settings
    couplings: Couplings | None = None

    def __post_init__(self) -> None:
        request = self.request
        floor = self.floor
        weighed = WeighedTensors(self.diagonals, DEFAULT_FLOOR if floor is None else floor)
        self.work = Work(self.source, request.options, weighed, request.progress, request.group)
        self._replay = Replay(self.layers, self.inputs, self.settings, self._coupled())
        if not self._replay.names:
            raise CannotError("no tensor multiplies inputs in a way that is understood")
        self.diagonals.prepare(self.others)

    def _coupled(self) -> Mapping[str, FloatArray]:
        options = self.request.options
        if self.couplings is None or options.granularity != "tensor" or options.prunes:
            return {}
        return self.couplings.under(self.settings)

    def build(self) -> CompressedModel:
        """The network by k or by size, as the request has it."""
        target = self.request.target_for(self.source)
        if target is None:
            return self._with_codebooks()
        if not suits_lattice(self.request):
            raise CannotError("integers on a lattice have no codebooks to share or to prune")
        return _LatticeSearch(self, target).run()

    def _with_codebooks(self) -> CompressedModel:
        options, k = self.request.options, self.request.budget.k
        assert k is not None
        refusal = why_no_codebooks(options)
        if refusal is not None:
            raise CannotError(refusal)
        made: dict[str, CompressedTensor] = {}
        others = dict.fromkeys(self.others, Choice(k))
        known = plainly_named(self.model, dict(self.model.named_parameters()))

        def quantise(target: Target) -> FloatArray:
            name, layer = target.name, target.layer
            entry = self.source.entries[name]
            tensor: CompressedTensor | DenseTensor | None = None
            if serves(target, options) and options.prunes:
                tensor = pruned(target, k, options, known[name].detach())
            elif serves(target, options):
                tensor = with_codebooks(target, k, options, entry.shape, entry.dtype)
            if isinstance(tensor, CompressedTensor) and tensor.nbytes < dense_bytes(
                entry.shape, entry.dtype
            ):
                made[name] = tensor
            else:
                others[name] = Choice(k)
                tensor = self.work.made({name: Choice(k)})[name]
            values = torch.from_numpy(tensor.dequantize().astype(np.float64))
            return layer.matrices(values).numpy()

        changed = self._replay.run(quantise)
        return self.model_of(made, changed, others)

    @property
    def replay(self) -> Replay:
        """The layers in turn."""
        return self._replay

    def model_of(
        self,
        made: Mapping[str, CompressedTensor],
        changed: Mapping[str, torch.Tensor],
        others: Mapping[str, Choice],
    ) -> CompressedModel:
        """All tensors in order: `made`, `changed` biases, and what has no matrix by `others`."""
        built = self.work.made(others)
        tensors: Tensors = {}
        for name in self.source.entries:
            if name in made:
                tensors[name] = made[name]
            elif name in built:
                tensors[name] = built[name]
            elif name in changed:
                tensors[name] = self.work.corrected(name, as_numpy(name, changed[name]))
            else:
                tensors[name] = self.work.dense(name, self.work.reasons[name])
        weighed = dict.fromkeys(made, "matrix") | dict.fromkeys(others, "diagonal")
        without = ", ".join(sorted(others))
        notes = (f"diagonal importances, for want of a matrix: {without}",) if without else ()
        findings = Findings(
            target_bytes=self.request.target_for(self.source),
            unseen=self.work.unseen | {n: u for n, u in self._replay.unseen.items() if n in made},
            weighed=weighed,
            notes=notes,
        )
        return self.work.model(tensors, findings)

    def unit(self) -> float:
        """How much larger diagonals of the layers are than what their matrices say.

        In all, once the layers have been looked at. Layer by layer exact diagonals of Fisher's
        matrix say otherwise where there are many positions, and networks diverge more by them: a
        CNN of 61,000 weights by a tenth at 1.5 and 2 bits, EfficientNet-Lite0 at 4 bits by more
        than twice.
        """
        own = self._replay.importances
        diagonals = self.diagonals.in_all(own) if self.others else 0.0
        return diagonals / sum(own.values()) if diagonals > 0 and any(own.values()) else 1.0

    @property
    def others(self) -> list[str]:
        """Tensors to compress that have no matrix."""
        own = set(self._replay.names)
        return [name for name in self.work.weights_of if name not in own]


def suits_lattice(request: Request) -> bool:
    options = request.options
    return (
        options.granularity == "tensor"
        and not options.zero_centroid
        and not options.channel_scales
        and options.codebook_dtype is None
        and options.coding != "packed"
        and request.solver is None
    )


class _LatticeSearch:
    """The water level, one for the whole network, at which the file has the size asked for."""

    def __init__(self, method: MatrixMethod, target: int) -> None:
        self._method = method
        self._target = target
        self._n_threads = method.request.options.n_threads
        options = method.request.options
        k = 1 << min(max(math.ceil(8 * target / max(method.work.n_weights, 1)) + 2, 4), 12)
        samples = {name: method.work.sample(name) for name in method.others}
        self._priced = {n: PricedSample(sample, k, options) for n, sample in samples.items()}
        self._energy_of_others = math.fsum(s.cost_of_zero for s in samples.values())
        self._held: dict[str, Choice] | None = None
        self._unit = 1.0
        self._slope = _SLOPE

    def run(self) -> CompressedModel:
        """The largest file found that has the size asked for.

        Sizes go by jumps where tensors without a matrix gain centroids: then these stay as they
        are, and the level alone falls further.
        """
        best, exponent = self._searched(self._without_drift())
        if best is None:
            raise CannotError(f"no file of {self._target:,} bytes was found")
        if best.nbytes < USED * self._target and self._priced:
            self._held = self._choices(2.0**exponent)
            finer, _ = self._searched(exponent - _FINER)
            best = best if finer is None or finer.nbytes < best.nbytes else finer
        return best

    def _searched(self, exponent: float) -> tuple[CompressedModel | None, float]:
        """Compress anew at level after level, between those known to be too low and high enough."""
        best: CompressedModel | None = None
        best_exponent = exponent
        found: list[tuple[float, float]] = []  # log2 of a level, log of bytes over those asked for
        for _ in range(_ROUNDS):
            try:
                model = self._compressed(2.0**exponent)
            except TooFineError:
                found.append((exponent, math.inf))
            else:
                size = model.nbytes
                if size <= self._target and (best is None or size > best.nbytes):
                    best, best_exponent = model, exponent
                if USED * self._target <= size <= self._target:
                    break
                found.append(self._measured(exponent, size))
            if _exhausted(found):
                break
            exponent = _next_exponent(found, self._slope)
        return best, best_exponent

    def _without_drift(self) -> float:
        """The exponent of 2 of the level that is about right if layers met the original's inputs.

        Which takes one forward pass for all levels.
        """
        method, n_weights = self._method, self._method.work.n_weights
        bits = min(8 * self._target / n_weights, _MOST_BITS)
        curves = [
            SizeCurve.of(target, bits, self._n_threads)
            for target in method.replay.original_targets()
        ]
        self._unit = method.unit()
        energy = math.fsum(curve.energy for curve in curves) + self._energy_of_others / self._unit
        exponent = math.log2(level_of(energy, n_weights, bits))
        found: list[tuple[float, float]] = []
        for _ in range(_ROUNDS):
            size = math.fsum(curve.at(exponent) for curve in curves)
            size += method.work.dense_bytes + self._bytes_of_others(exponent)
            found.append(self._measured(exponent, size))
            if abs(found[-1][1]) < 1 - USED or _exhausted(found):
                break
            exponent = _next_exponent(found, self._slope)
        self._slope = _slope_of(found, self._slope)
        return min(found, key=lambda point: abs(point[1]))[0]

    def _measured(self, exponent: float, size: float) -> tuple[float, float]:
        return exponent, math.log(size / (_AIM * self._target))

    def _compressed(self, level: float) -> CompressedModel:
        made: dict[str, CompressedTensor] = {}

        def quantise(target: Target) -> FloatArray:
            made[target.name], values = self._on_lattice(target, level)
            return values.reshape(target.weights.shape)

        changed = self._method.replay.run(quantise)
        give_back()
        model = self._method.model_of(made, changed, self._choices(level))
        give_back()
        return model

    def _on_lattice(self, target: Target, level: float) -> tuple[CompressedTensor, FloatArray]:
        found = of_several_values(
            target, level, lambda level: better_on_lattice(target, level, self._n_threads)
        )
        entry = self._method.source.entries[target.name]
        tensor = lattice_tensor(
            found.encoded,
            entry.shape,
            entry.dtype,
            transposed=target.layer.transposed,
            cost=found.cost,
        )
        return tensor, found.values

    def _choices(self, level: float) -> dict[str, Choice]:
        """Of tensors without a matrix, at the same slope of cost against bits."""
        if self._held is not None:
            return self._held
        price = self._price_at(level)
        return {name: sample.at(price)[2] for name, sample in self._priced.items()}

    def _bytes_of_others(self, exponent: float) -> float:
        price = self._price_at(2.0**exponent)
        return math.fsum(sample.at(price)[0] for sample in self._priced.values())

    def _price_at(self, level: float) -> float:
        """Of a bit, for tensors without a matrix."""
        return SLOPE * level**2 * self._unit


def _exhausted(found: list[tuple[float, float]]) -> bool:
    """Whether no level is worth trying: no finer one does, or no coarser one takes fewer bytes."""
    points = sorted(found)
    too_fine = max((x for x, over in points if math.isinf(over)), default=-math.inf)
    too_large = max((x for x, over in points if over > 0), default=-math.inf)
    enough = min((x for x, over in points if over <= 0), default=math.inf)
    if enough - too_fine < 0.5 or enough - too_large < _JUMP:
        return True
    (before, over_before), (last, over_last) = points[-2:] if len(points) > 1 else points * 2
    # Where all integers are zero an octave changes nothing.
    return last - before >= 1 and over_before == over_last > 0


def _next_exponent(found: list[tuple[float, float]], slope: float) -> float:
    """By a line through the two nearest, within what is known to be too small and large enough."""
    low = max((x for x, over in found if over > 0), default=-math.inf)
    high = min((x for x, over in found if over <= 0), default=math.inf)
    nearest = _nearest(found)
    if not nearest:
        return low + 4
    exponent, excess = nearest[0]
    following = exponent + excess / _slope_of(found, slope)
    if low < following < high:
        return following
    if math.isinf(high):
        return low + 2
    return high - 2 if math.isinf(low) else (low + high) / 2


def _slope_of(found: list[tuple[float, float]], otherwise: float) -> float:
    """How fast the log of sizes falls by octaves, between the two nearest where there are two."""
    nearest = _nearest(found)
    if len(nearest) < 2 or nearest[0][0] == nearest[1][0]:
        return otherwise
    (x, over_x), (y, over_y) = nearest
    return max((over_x - over_y) / (y - x), _SLOPE / 4)


def _nearest(found: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted((p for p in found if math.isfinite(p[1])), key=lambda point: abs(point[1]))[:2]
