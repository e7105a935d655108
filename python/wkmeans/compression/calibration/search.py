"""`compress(calibration=)`: what is worth trying is tried, and the least divergence is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from wkmeans._free_memory import give_back
from wkmeans._wrappers import plainly_named
from wkmeans.compression._build import Request, build
from wkmeans.compression._floor import DEFAULT_FLOOR
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._plan import Rounding
from wkmeans.compression._work import tensors_to_compress
from wkmeans.compression.calibration.batches import held_out, read_inputs, some_of_all
from wkmeans.compression.calibration.coupling import Couplings
from wkmeans.compression.calibration.diagonals import Diagonals
from wkmeans.compression.calibration.divergence import Judge
from wkmeans.compression.calibration.layers import Layers
from wkmeans.compression.calibration.matrix import CannotError, MatrixMethod
from wkmeans.compression.calibration.objective import Settings
from wkmeans.compression.calibration.tuning import Tuner
from wkmeans.compression.calibration.vectors import Precisions, rounded_ones, vectors_of
from wkmeans.compression.source import Source
from wkmeans.importance._estimate import estimate, resolve_loss
from wkmeans.importance.model.functional import Forward

METHODS = ("auto", "matrix", "diagonal", "unweighted")
_OTHER_FLOORS = (0.1, 3.0, 10.0)
"""Tried where none is given."""
_Ways = dict[str, dict[str, Any]]
_STURDY: _Ways = {"matrix, sturdy": {"damping": 1.0, "ridge": 0.3, "biases": False}}
"""Settings by the names of what they make: those for networks too large to try several on. They
cost a large layer little, and inputs of another kind than calibrate lose far less: to held-out news
a sentence encoder of 16 centroids is the same with either, to single words it is ten times worse
with those close to the examples."""
_CLOSE: _Ways = {"matrix": {}}
"""Better by a fifth to a half for small layers and many examples."""
_CLOSER: _Ways = {
    "matrix, damping 0.03": {"damping": 0.03},
    "matrix, damping 0.01": {"damping": 0.01},
}
"""Tried too for codebooks of k, where labels fall one way or another by luck: each is the best for
some networks and k, by up to a tenth."""
_GUESS = 0.03
"""Of what plain rounding costs, before anything else has been tried."""
_MOST_SEEDS = 64
"""Fisher's importances are exact up to so many outputs an example, which take a backward pass each,
and from random probes beyond."""
_SAMPLES, _MOST_PROBES = 512, 16
"""Probes, of all examples together: squares of so many random numbers differ from their mean by a
sixteenth, and layers and rows are weighed by sums over many weights."""
_MOST_WEIGHTS = 1 << 22  # of networks that several settings are tried on, with couplings of outputs


@dataclass(frozen=True)
class Calibration:
    """Batches, and how they are to be used."""

    batches: Iterable[Any]
    loss: str = "cross_entropy"
    forward: Forward | None = None
    method: str = "auto"
    tune: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(
                f"method: expected one of {', '.join(map(repr, METHODS))}, got {self.method!r}"
            )


def calibrated(
    model: Any,
    source: Source,
    request: Request,
    calibration: Calibration,
    importances: Mapping[str, Any] | None,
    floor: float | None,
) -> CompressedModel:
    """The candidate of least divergence on held-out examples.

    Plain unweighted rounding of the same size is always one of them: where nothing that was asked
    for is better, it is what comes back, and the report says so.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a torch.nn.Module with calibration, got {type(model).__name__}"
        )
    with torch.inference_mode(False):  # in which nothing is derived
        return _tried(_Trial(model, source, request, calibration, importances, floor))


def _tried(trial: _Trial) -> CompressedModel:
    best, tried = trial.unweighted, trial.tried
    least = tried["unweighted"] = trial.divergence_of(trial.unweighted)
    refused: dict[str, str] = {}
    for name, make in trial.candidates():
        try:
            made = make()
        except CannotError as error:
            refused.setdefault(str(error), name.split(",")[0])
            continue
        tried[name] = trial.divergence_of(made)
        if tried[name] < least:
            best, least = made, tried[name]
    best = trial.tuned(best)
    least = min(tried.values())
    notes = (f"{name} was not tried: {reason}" for reason, name in refused.items())
    findings = replace(
        best.findings,
        divergence=least,
        divergence_unweighted=tried["unweighted"],
        tried=tried,
        notes=(*best.findings.notes, *notes),
    )
    return best.with_findings(findings)


@dataclass
class _Trial:
    """What candidates are made of and judged by.

    Attributes
    ----------
    tried : dict
        Of each candidate so far, its divergence on held-out examples.
    """

    model: nn.Module
    source: Source
    request: Request
    calibration: Calibration
    importances: Mapping[str, Any] | None
    floor: float | None
    tried: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inputs = read_inputs(self.calibration.batches)
        self.inputs, judging = held_out(inputs)
        self._judge = Judge(self.model, judging, self.calibration.loss, self.calibration.forward)

    @cached_property
    def unweighted(self) -> CompressedModel:
        """Plain rounding of the same size."""
        return build(self.source, self.request, None, DEFAULT_FLOOR)

    def candidates(self) -> Iterator[tuple[str, Callable[[], CompressedModel]]]:
        """Names, and what makes each; `unweighted` aside."""
        if self.calibration.method == "unweighted":
            return
        ways = self._ways()
        for request, of_vectors in self._requests():
            yield from self._of(request, of_vectors, ways)
            best = min(ways, key=lambda name: self.tried.get(name, math.inf))
            ways = {best: ways[best]}

    def _requests(self) -> Iterator[tuple[Request, str]]:
        """With vectors as precise as pays, by a guess and then by what was found."""
        precisions = self._precisions
        if precisions is None:
            yield self.request, ""
            return
        guessed = precisions.best_for(_GUESS * self.tried["unweighted"], None)
        yield self._with(precisions.rounding(guessed)), ""
        found = precisions.best_for(min(self.tried.values()), guessed)
        if found != guessed:
            what = "as they are" if found is None else f"of {found} bits"
            yield self._with(precisions.rounding(found)), f", vectors {what}"

    def _with(self, rounding: Rounding | None) -> Request:
        return replace(self.request, options=replace(self.request.options, rounding=rounding))

    def _of(
        self, request: Request, of_vectors: str, ways: _Ways
    ) -> Iterator[tuple[str, Callable[[], CompressedModel]]]:
        method = self.calibration.method
        if method in ("auto", "matrix"):
            for name, changed in ways.items():
                yield name + of_vectors, partial(self._matrix, request, changed)
        # They take every example's derivatives of every weight, and where the matrix is better than
        # plain rounding they have not yet been better than it: `bench/frontier`.
        if method == "diagonal" or (method == "auto" and not self._best.startswith("matrix")):
            for floor in self._floors():
                name = f"diagonal, floor {floor:g}{of_vectors}"
                yield name, partial(self._diagonal, request, floor)

    def _floors(self) -> Iterator[float]:
        yield DEFAULT_FLOOR if self.floor is None else self.floor
        if self.floor is None:
            yield from _OTHER_FLOORS

    @cached_property
    def _precisions(self) -> Precisions | None:
        """None where bytes are not counted, serve no weights, or vectors stay as they are."""
        source, options = self.source, self.request.options
        names = rounded_ones(source, self._vectors)
        n_weights = sum(source.entries[n].size for n in tensors_to_compress(source, options))
        if self.request.budget.k is not None or not names or not n_weights:
            return None
        vectors = {name: source.entries[name].read() for name in names}
        return Precisions(vectors, self._judge.divergence, n_weights)

    @cached_property
    def _vectors(self) -> Collection[str]:
        return vectors_of(self.model, self.source, self.request.options)

    @property
    def _best(self) -> str:
        return min(self.tried, key=self.tried.__getitem__)

    def tuned(self, best: CompressedModel) -> CompressedModel:
        """With codebooks and vectors moved, where outputs diverge less so."""
        if not self._tunes or not 0 < self.tried[self._best] < math.inf:
            return best
        calibration, name = self.calibration, f"{self._best}, tuned"
        tuner = Tuner(self.model, self.inputs, calibration.loss, calibration.forward, self._vectors)
        made = tuner.tuned(best)
        self.tried[name] = self.divergence_of(made)
        return made if self._best == name else best

    @property
    def _tunes(self) -> bool:
        """Files of a size hold integers, and their vectors alone gain next to nothing."""
        calibration = self.calibration
        has_codebooks = self.request.budget.k is not None
        return calibration.tune and has_codebooks and calibration.method in ("auto", "matrix")

    def divergence_of(self, model: CompressedModel) -> float:
        """On the held-out examples."""
        give_back()
        return self._judge.divergence(model.state_dict("torch"))

    def _ways(self) -> _Ways:
        if not self._is_small:
            return _STURDY
        return _STURDY | _CLOSE | ({} if self.request.budget.k is None else _CLOSER)

    @property
    def _is_small(self) -> bool:
        return sum(parameter.numel() for parameter in self.model.parameters()) <= _MOST_WEIGHTS

    def _matrix(self, request: Request, changed: Mapping[str, Any]) -> CompressedModel:
        settings = Settings() if self.floor is None else Settings(floor=self.floor)
        return MatrixMethod(
            self.model,
            self.source,
            request,
            self.inputs,
            self._layers,
            self._diagonals,
            self.floor,
            replace(settings, **changed),
            self._couplings,
        ).build()

    @cached_property
    def _layers(self) -> Layers:
        known = plainly_named(self.model, dict(self.model.named_parameters()))
        names = [n for n in tensors_to_compress(self.source, self.request.options) if n in known]
        loss = resolve_loss(self.calibration.loss, 1.0, "example")
        return Layers.of(self.model, self.inputs, self.calibration.forward, names, loss)

    @cached_property
    def _couplings(self) -> Couplings | None:
        """Once for all settings; of small networks only, as all are held at one time."""
        if not self._is_small:
            return None
        loss = resolve_loss(self.calibration.loss, 1.0, "example")
        return Couplings(self.model, self.inputs, self.calibration.forward, loss)

    def _diagonal(self, request: Request, floor: float) -> CompressedModel:
        self._diagonals.prepare(tensors_to_compress(self.source, request.options))
        return build(self.source, request, self._diagonals, floor)

    @cached_property
    def _diagonals(self) -> Diagonals:
        """Those given, or Fisher's of the examples that do not judge."""

        def fisher(names: Collection[str], most: int | None) -> Mapping[str, Any]:
            batches = self.inputs if most is None else some_of_all(self.inputs, most)
            pairs: list[tuple[Any, None]] = [(batch.value(), None) for batch in batches]
            wanted = set(names)
            return estimate(
                self.model, pairs, objective="fisher", loss=self.calibration.loss,
                forward=self.calibration.forward, parameters=lambda name, _: name in wanted,
                probes=self._probes,
            )  # fmt: skip

        return Diagonals(self.model, self.source, self.importances, fisher)

    @property
    def _probes(self) -> int | None:
        """For each example."""
        if self._judge.outputs_of_an_example <= _MOST_SEEDS:
            return None
        return min(max(2, _SAMPLES // sum(map(len, self.inputs))), _MOST_PROBES)
