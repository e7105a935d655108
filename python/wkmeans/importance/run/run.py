"""One estimate under way: what is summed, and by which method, batch after batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from wkmeans.importance._importances import Importances
from wkmeans.importance.first.engine import Engine, Recording
from wkmeans.importance.first.reductions import Reduction
from wkmeans.importance.first.seeds import Seeds
from wkmeans.importance.losses.alignment import Alignment
from wkmeans.importance.losses.losses import Loss, Probes
from wkmeans.importance.model.batches import Batch
from wkmeans.importance.model.functional import FunctionalModel, Tensors, zeros_like
from wkmeans.importance.run.progress import ProgressFunction
from wkmeans.importance.run.soundness import first_bad, require_finite
from wkmeans.importance.run.state import PROBED, State, require_equal
from wkmeans.importance.second.curvature import Curvature

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
    variance_sums: Tensors = field(default_factory=dict)
    quartic_variance_sums: Tensors = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.alignment = Alignment(self.model, self.loss, self.loss.untempered())
        self.engine = Engine(self.model)
        self.second = Curvature(self.engine, self.loss, self.curvature)
        self.seen = 0
        self._position = 0
        self._kept_methods: dict[str, str] = {}
        self._is_probed = False
        self._at_once: dict[tuple[torch.Size, ...], int] = {}

    @property
    def needs_targets(self) -> bool:
        """Fisher takes the model's word for the label."""
        return self.objective != "fisher"

    def resume(self, state: State, methods: dict[str, str]) -> None:
        """Start from sums that were kept, and the methods that gave the second derivatives."""
        require_equal(self.importances().kind(), state.kind())
        parameters = self.model.parameters
        shapes = {name: total.shape for name, total in state.sums.items()}
        if shapes != {name: parameter.shape for name, parameter in parameters.items()}:
            raise ValueError("checkpoint: expected one of the model's parameters, got others")
        self.count = state.count
        for own, kept in (
            (self.sums, state.sums),
            (self.quartic_sums, state.quartic_sums or {}),
            (self.variance_sums, state.variance_sums),
            (self.quartic_variance_sums, state.quartic_variance_sums),
        ):
            own |= {name: total.to(parameters[name].device) for name, total in kept.items()}
        self._kept_methods = state.methods
        self._is_probed = any(method.endswith(PROBED) for method in state.methods.values())
        self.second.methods = methods

    def importances(self) -> Importances:
        """What has been summed so far."""
        return Importances(
            self.objective, self.loss.name, self.loss.temperature, self.mu, self.count, self.sums,
            self.quartic_sums or None, self._methods() | self.second.methods,
            self.variance_sums, self.quartic_variance_sums,
        )  # fmt: skip

    def _methods(self) -> dict[str, str]:
        if self.seen == 0:
            return self._kept_methods
        covered, probed = self.engine.covered, PROBED if self._is_probed else ""
        found = {n: "rules" if n in covered else "one example at a time" for n in self.sums}
        slow = [n for n, method in self._kept_methods.items() if method.startswith("one")]
        return {n: ("one example at a time" if n in slow else m) + probed for n, m in found.items()}

    def add(self, batch: Batch, position: int, report: ProgressFunction) -> None:
        """Add a batch's examples, in chunks that bound memory, telling of each.

        ``ValueError`` where the sums are no numbers then.
        """
        # The same when a run is resumed, and other signs for every batch.
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B1 + position) % 2**32)
        probes = Probes(self.n_probes, generator)
        batch = self.alignment.completed(batch)
        self._position = position
        if len(batch) and self.seen == 0:
            self._check_independence(batch)
        for chunk in batch.chunks(self._chunk_size(batch)):
            self._add_chunk(chunk, probes)
            report(position, self.count)
        require_finite(
            self.objective, position, self.sums, self.quartic_sums,
            self.variance_sums, self.quartic_variance_sums,
        )  # fmt: skip

    def _add_chunk(self, chunk: Batch, probes: Probes) -> None:
        recording = self.engine.record(chunk.inputs)
        outputs = recording.outputs.detach()
        self._check_outputs(outputs)
        chunk = self._aligned(chunk, outputs)
        if self.needs_targets:
            self.loss.check(outputs, chunk.labelled)
        if self.objective in ("fisher", "hessian"):
            if self.objective == "fisher":
                self._accumulate(recording, self._seeds(outputs, chunk, probes))
            else:
                self._accumulate_curvature(recording, chunk, probes, self.sums)
        else:
            settled = self.loss.probes_for(outputs, probes, self.loss.n_losses(outputs))
            self._accumulate(recording, self.loss.gradient_seeds(outputs, chunk.labelled, settled))
            if self.objective == "gradient+hessian":
                self._accumulate_curvature(recording, chunk, probes, self.quartic_sums)
        self.count += self.loss.count(outputs, chunk.targets)
        self.seen += len(chunk)

    def _aligned(self, chunk: Batch, outputs: torch.Tensor) -> Batch:
        return self.alignment.aligned(chunk, outputs, needs_targets=self.needs_targets)

    def _accumulate(self, recording: Recording, seeds: Seeds) -> None:
        totals, variances = self._started(self.sums), None
        self._is_probed |= seeds.are_probes
        if seeds.are_independent:
            variances = self._started(self.variance_sums)
        self.engine.accumulate(
            recording, seeds, Reduction.FIRST, list(totals), totals, variances=variances
        )

    def _accumulate_curvature(
        self, recording: Recording, chunk: Batch, probes: Probes, totals: Tensors
    ) -> None:
        squared = totals is self.quartic_sums
        self.second.accumulate(
            recording, chunk, probes, squared=squared, totals=self._started(totals),
            variances=self.quartic_variance_sums if squared else self.variance_sums,
        )  # fmt: skip

    def _started(self, totals: Tensors) -> Tensors:
        if not totals:
            for name, parameter in self.model.parameters.items():
                totals[name] = zeros_like(parameter)
        return totals

    def _chunk_size(self, batch: Batch) -> int:
        """The user's, or what bounds memory: a function of the batch's shape alone, so that a
        resumed run cuts as an uninterrupted one does.
        """
        if self.chunk_size is not None or (self.objective == "gradient" and not self.n_probes):
            return self.chunk_size or max(1, len(batch))
        shape = tuple(tensor.shape[1:] for tensor in batch.inputs.tensors)
        if len(batch) and shape not in self._at_once:
            few = batch[:2]
            recording = self.engine.record(few.inputs)
            self._at_once[shape] = recording.fitting(self._seeds_at_once(recording, few))
        return min(max(1, len(batch)), self._at_once.get(shape, 1))

    def _seeds_at_once(self, recording: Recording, few: Batch) -> int:
        """Seeds of an example whose deltas are held together.

        All of a loss's where their sum is squared, or where their variance is wanted.
        """
        probes = Probes(self.n_probes, torch.Generator())  # the user's random state stays as it is
        outputs = recording.outputs.detach()
        seeds = self._seeds(outputs, self._aligned(few, outputs), probes)
        together = self.objective == "gradient+hessian" or seeds.are_independent
        return seeds.per_group if together else min(_SEEDS, seeds.count)

    def _seeds(self, outputs: torch.Tensor, chunk: Batch, probes: Probes) -> Seeds:
        """Those of which an example has the most."""
        factors = self.loss.n_factors(outputs)
        if self.objective == "fisher":
            settled = self.loss.probes_for(outputs, probes, factors)
            return self.loss.fisher_seeds(outputs, chunk.targets, settled)
        self.loss.check(outputs, chunk.labelled)
        if self.objective == "gradient":
            settled = self.loss.probes_for(outputs, probes, self.loss.n_losses(outputs))
            return self.loss.gradient_seeds(outputs, chunk.labelled, settled)
        settled = self.loss.probes_for(outputs, probes, factors)
        return self.loss.curvature_seeds(outputs, chunk.labelled, settled)

    def _check_outputs(self, outputs: torch.Tensor) -> None:
        finite = outputs.isfinite()
        if not bool(finite.all()):
            bad = int((~finite.flatten(1).all(1)).nonzero()[0])
            raise ValueError(
                f"model: expected finite outputs, got {first_bad(outputs[bad])[1]} for example "
                f"{self.seen + bad}, in batch {self._position}"
            )

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
