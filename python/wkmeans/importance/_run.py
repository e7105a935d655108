"""One estimate under way: what is summed, and by which method, batch after batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from wkmeans.importance._batches import Batch
from wkmeans.importance._contributions import Reduction
from wkmeans.importance._curvature import Curvature
from wkmeans.importance._engine import Engine, Recording
from wkmeans.importance._functional import FunctionalModel, Tensors
from wkmeans.importance._importances import Importances
from wkmeans.importance._losses import Loss, Probes
from wkmeans.importance._seeds import Seeds

# So many seeds of an example share what is prepared of it, where they need not all be at hand.
_SEEDS = 16


@dataclass
class Run:
    """Sums over examples of the two importances, and their count."""

    model: FunctionalModel
    objective: str
    loss: Loss
    curvature: str
    n_probes: int | None
    seed: int
    chunk_size: int | None
    mu: float = 0.0
    count: int = 0
    sums: Tensors = field(default_factory=dict)
    quartic_sums: Tensors = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = Engine(self.model)
        self.second = Curvature(self.engine, self.loss, self.curvature)
        self.seen = 0
        self._at_once: dict[tuple[torch.Size, ...], int] = {}

    @property
    def needs_targets(self) -> bool:
        """Fisher takes the model's word for the label."""
        return self.objective != "fisher"

    def resume(self, importances: Importances, methods: dict[str, str]) -> None:
        """Start from sums that were kept, and the methods that gave the second derivatives."""
        self.importances()._require_same_kind(importances)
        parameters = self.model.parameters
        shapes = {name: total.shape for name, total in importances.sums.items()}
        if shapes != {name: parameter.shape for name, parameter in parameters.items()}:
            raise ValueError("checkpoint: holds other parameters than the model's")
        self.count = importances.count
        self.sums = {n: importances.sums[n].to(p.device) for n, p in parameters.items()}
        if (quartic := importances.quartic_sums) is not None:
            self.quartic_sums = {n: quartic[n].to(p.device) for n, p in parameters.items()}
        self.second.methods = methods

    def importances(self) -> Importances:
        """What has been summed so far."""
        covered = self.engine.covered
        methods = {
            name: "rules" if name in covered else "one example at a time" for name in self.sums
        }
        return Importances(
            self.objective, self.loss.name, self.loss.temperature, self.mu, self.count, self.sums,
            self.quartic_sums or None, methods | self.second.methods,
        )  # fmt: skip

    def add(self, batch: Batch, position: int) -> None:
        """Add a batch's examples, in chunks that bound memory."""
        # The same when a run is resumed, and other signs for every batch.
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B1 + position) % 2**32)
        probes = Probes(self.n_probes, generator)
        if len(batch) and self.seen == 0:
            self._check_independence(batch)
        for chunk in batch.chunks(self._chunk_size(batch)):
            self._add_chunk(chunk, probes)

    def _add_chunk(self, chunk: Batch, probes: Probes) -> None:
        recording = self.engine.record(chunk.inputs)
        outputs, targets = recording.outputs.detach(), chunk.targets
        self._check_outputs(outputs)
        if self.needs_targets:
            self.loss.check(outputs, chunk.labelled)
        if self.objective == "fisher":
            seeds = self.loss.fisher_seeds(outputs, targets, probes)
            self._accumulate(recording, seeds)
        elif self.objective == "hessian":
            self._accumulate_curvature(recording, chunk, probes, self.sums)
        else:
            seeds = self.loss.gradient_seeds(outputs, chunk.labelled, probes)
            self._accumulate(recording, seeds)
            if self.objective == "gradient+hessian":
                self._accumulate_curvature(recording, chunk, probes, self.quartic_sums)
        self.count += self.loss.count(outputs, targets)
        self.seen += len(chunk)

    def _accumulate(self, recording: Recording, seeds: Seeds) -> None:
        totals = self._started(self.sums)
        self.engine.accumulate(recording, seeds, Reduction.FIRST, list(totals), totals)

    def _accumulate_curvature(
        self, recording: Recording, chunk: Batch, probes: Probes, totals: Tensors
    ) -> None:
        squared = totals is self.quartic_sums
        self.second.accumulate(
            recording, chunk, probes, squared=squared, totals=self._started(totals)
        )

    def _started(self, totals: Tensors) -> Tensors:
        if not totals:
            for name, parameter in self.model.parameters.items():
                totals[name] = torch.zeros_like(parameter, dtype=torch.float64)
        return totals

    def _chunk_size(self, batch: Batch) -> int:
        """The user's, or what bounds memory: a function of the batch's shape alone, so that a
        resumed run cuts as an uninterrupted one does.
        """
        if self.chunk_size is not None or self.objective == "gradient":
            return self.chunk_size or max(1, len(batch))
        shape = tuple(tensor.shape[1:] for tensor in batch.inputs.tensors)
        if len(batch) and shape not in self._at_once:
            few = batch[:2]
            recording = self.engine.record(few.inputs)
            self._at_once[shape] = recording.fitting(self._seeds_at_once(recording, few))
        return min(max(1, len(batch)), self._at_once.get(shape, 1))

    def _seeds_at_once(self, recording: Recording, few: Batch) -> int:
        """Seeds of an example whose deltas are held together."""
        outputs, probes = recording.outputs.detach(), Probes(self.n_probes, torch.Generator())
        if self.objective == "fisher":
            return min(_SEEDS, self.loss.fisher_seeds(outputs, few.targets, probes).count)
        self.loss.check(outputs, few.labelled)
        seeds = self.loss.curvature_seeds(outputs, few.labelled, probes)
        return min(_SEEDS, seeds.count) if self.objective == "hessian" else seeds.per_group

    def _check_outputs(self, outputs: torch.Tensor) -> None:
        finite = outputs.isfinite()
        if not bool(finite.all()):
            bad = self.seen + int((~finite.flatten(1).all(1)).nonzero()[0])
            raise ValueError(f"model: the output of example {bad} is not finite")

    def _check_independence(self, batch: Batch) -> None:
        with torch.no_grad():
            together = self.model(self.model.parameters, batch.inputs)
            alone = self.model(self.model.parameters, batch.inputs[:1])
        self._check_outputs(together)
        tolerance = math.sqrt(torch.finfo(together.dtype).eps) * float(together.abs().max())
        if bool(((alone - together[:1]).abs() > tolerance).any()):
            raise ValueError(
                "model: the output of example 0 changes with the other examples of its batch, so "
                "no per-example gradient is defined; call model.eval() first, or normalise each "
                "example by itself"
            )
