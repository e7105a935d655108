"""One estimate under way: what is summed, and by which method, batch after batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from wkmeans.importance._batches import Batch
from wkmeans.importance._contributions import Reduction
from wkmeans.importance._engine import Engine, Recording
from wkmeans.importance._functional import FunctionalModel, Tensors
from wkmeans.importance._hessian import certified, second_derivatives
from wkmeans.importance._losses import Loss, Probes
from wkmeans.importance._seeds import Seeds

_EXAMPLES_OF_CERTIFICATE = 32


@dataclass
class Run:
    """Sums over examples of the two importances, and their count."""

    model: FunctionalModel
    objective: str
    loss: Loss
    n_probes: int | None
    chunk_size: int | None
    count: int = 0
    sums: Tensors = field(default_factory=dict)
    quartic_sums: Tensors = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = Engine(self.model)
        self.names = list(self.model.parameters)
        self.flat: set[str] | None = None  # where Gauss-Newton is the Hessian
        self.seen = 0

    @property
    def needs_targets(self) -> bool:
        """Fisher takes the model's word for the label."""
        return self.objective != "fisher"

    @property
    def needs_curvature(self) -> bool:
        """Whether second derivatives are among what is summed."""
        return "hessian" in self.objective

    def add(self, batch: Batch, position: int) -> None:
        """Add a batch's examples, in chunks that bound memory."""
        if self.needs_targets and batch.targets is None:
            raise TypeError(
                "batches: this objective needs targets as tensors; only fisher does not"
            )
        generator = torch.Generator().manual_seed(position)  # the same when a run is resumed
        probes = Probes(self.n_probes, generator)
        if self.seen == 0:
            self._check_independence(batch)
        for chunk in batch.chunks(self._chunk_size(batch, probes)):
            self._add_chunk(chunk, probes)

    def _add_chunk(self, chunk: Batch, probes: Probes) -> None:
        recording = self.engine.record(chunk.inputs)
        outputs, targets = recording.outputs.detach(), chunk.targets
        self._check_outputs(outputs)
        if self.needs_targets:
            self.loss.check(outputs, targets)
        if self.objective == "fisher":
            seeds = self.loss.fisher_seeds(outputs, targets, probes)
            self._accumulate(recording, seeds, Reduction.FIRST, self.names, self.sums)
        elif self.objective == "hessian":
            self._add_curvature(recording, chunk, probes, Reduction.FIRST, self.sums)
        else:
            seeds = self.loss.gradient_seeds(outputs, targets, probes)
            self._accumulate(recording, seeds, Reduction.FIRST, self.names, self.sums)
            if self.objective == "gradient+hessian":
                power = Reduction.SECOND if probes.count is None else Reduction.PAIRS
                self._add_curvature(recording, chunk, probes, power, self.quartic_sums)
        self.count += self.loss.count(outputs, targets)
        self.seen += len(chunk)

    def _add_curvature(
        self, recording: Recording, chunk: Batch, probes: Probes, reduction: Reduction,
        totals: Tensors,
    ) -> None:  # fmt: skip
        outputs = recording.outputs.detach()
        if self.flat is None:
            self.flat = self._certify(chunk[:_EXAMPLES_OF_CERTIFICATE], outputs)
        flat = [name for name in self.names if name in self.flat]
        if flat:
            seeds = self.loss.curvature_seeds(outputs, chunk.targets, probes)
            self._accumulate(recording, seeds, reduction, flat, totals)
        for name in self.names:
            if name not in self.flat:
                self._add_second_derivatives(name, chunk, reduction, totals)

    def _add_second_derivatives(
        self, name: str, chunk: Batch, reduction: Reduction, totals: Tensors
    ) -> None:
        engine = self.engine.fall_back(chunk.inputs)
        total = self._total(totals, name)
        diagonals = second_derivatives(engine, self.model, self.loss.per_example, chunk, name)
        total += (diagonals if reduction is Reduction.FIRST else diagonals.square() / 4).sum(0)

    def _certify(self, chunk: Batch, outputs: torch.Tensor) -> set[str]:
        outputs = outputs[: len(chunk)]
        generator = torch.Generator().manual_seed(0)
        gradient = _mixed(
            self.loss.gradient_seeds(outputs, chunk.targets, Probes()), generator, outputs
        )
        try:
            seeds = self.loss.curvature_seeds(outputs, chunk.targets, Probes(4, generator))
        except ValueError:  # a function: its curvature is known exactly or not at all
            seeds = self.loss.curvature_seeds(outputs, chunk.targets, Probes())
        vectors = torch.cat([seeds.normalised(p)[0] * seeds.normalised(p)[2] ** 0.5 for p in seeds.blocks(None)])
        return certified(self.model, chunk.inputs, gradient, vectors.transpose(0, 1))

    def _accumulate(
        self, recording: Recording, seeds: Seeds, reduction: Reduction, names: list[str],
        totals: Tensors,
    ) -> None:  # fmt: skip
        self._total(totals, names[0])
        quarter = 1.0 if reduction is Reduction.FIRST else 0.25  # H is the coefficient of w^4
        self.engine.accumulate(recording, seeds, reduction, names, totals, quarter)

    def _total(self, totals: Tensors, name: str) -> torch.Tensor:
        if not totals:
            for each, parameter in self.model.parameters.items():
                totals[each] = torch.zeros_like(parameter, dtype=torch.float64)
        return totals[name]

    def _chunk_size(self, batch: Batch, probes: Probes) -> int:
        if self.chunk_size is not None:
            return self.chunk_size
        return len(batch)

    def _check_outputs(self, outputs: torch.Tensor) -> None:
        finite = outputs.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            bad = self.seen + int((~finite).nonzero()[0])
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


def _mixed(seeds: Seeds, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    """The seeds of each example, summed under random signs, which nothing cancels by design."""
    total: Any = 0
    for part in seeds.blocks(None):
        vectors, signs, scale = seeds.normalised(part)
        mix = torch.randn(vectors.shape[:2], generator=generator).to(vectors)
        total = total + (vectors * mix.reshape(*mix.shape, *[1] * (vectors.ndim - 2))).sum(0) * scale**0.5
    return total
