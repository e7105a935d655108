"""Which second derivatives of which parameter are found how, and their sums."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch

from wkmeans.importance import _neurons
from wkmeans.importance._batches import Batch
from wkmeans.importance._contributions import Reduction, Total, combined
from wkmeans.importance._engine import FALL_BACK_BYTES, Engine, Recording
from wkmeans.importance._functional import Tensors
from wkmeans.importance._hessian import certified, random_diagonals, second_derivatives
from wkmeans.importance._losses import Loss, Probes
from wkmeans.importance._seeds import Seeds

CURVATURES = ("auto", "gauss-newton", "exact", "hutchinson")
# ``"auto"`` spends this much on second derivatives: products times the weights of the model.
MOST_WORK = 2**28
_EXAMPLES_OF_CERTIFICATE = 4
_DEFAULT_PROBES = 16


@dataclass
class Curvature:
    """Sums of Hessian diagonals, or of their squares over four, of one model and loss.

    ``methods`` says, once the first examples are seen, how each parameter's is found:

    - ``"gauss-newton, certified"``: equal to the Hessian, as those examples show;
    - ``"gauss-newton"``: not equal to it, or not asked whether it is;
    - ``"second derivatives"``: exact, by a product for each output or each weight;
    - ``"hutchinson"``: an unbiased estimate.
    """

    engine: Engine
    loss: Loss
    choice: str
    methods: dict[str, str] = field(default_factory=dict)

    def accumulate(
        self, recording: Recording, chunk: Batch, probes: Probes, *, squared: bool, totals: Tensors
    ) -> None:
        """Add the chunk's diagonals to ``totals``; ``squared``, a quarter of their squares."""
        if not self.methods:
            self._choose(recording, chunk)
        exact = Reduction.SECOND if squared else Reduction.FIRST
        random = Reduction.PAIRS if squared else Reduction.FIRST
        groups = {m: [n for n, own in self.methods.items() if own == m] for m in
                  dict.fromkeys(self.methods.values())}  # fmt: skip
        flat = [n for n, m in self.methods.items() if m.startswith("gauss-newton")]
        if flat:
            outputs = recording.outputs.detach()
            seeds = self.loss.curvature_seeds(outputs, chunk.labelled, probes)
            reduction = random if seeds.are_probes else exact
            self.engine.accumulate(recording, seeds, reduction, flat, totals, _factor(squared))
        if names := groups.get("second derivatives"):
            self._add_exact(recording, chunk, names, exact, totals)
        if names := groups.get("hutchinson"):
            count = probes.count or _DEFAULT_PROBES
            some = Probes(count, probes.generator)
            self._add_random(recording, chunk, names, random, some, totals)

    def _choose(self, recording: Recording, chunk: Batch) -> None:
        names = list(self.engine.model.parameters)
        if self.choice == "gauss-newton":
            self.methods = dict.fromkeys(names, "gauss-newton")
            return
        flat = self._certify(recording, chunk[:_EXAMPLES_OF_CERTIFICATE])
        curved = {n: self._products(n, recording) for n in names if n not in flat}
        self.methods = dict.fromkeys(names, "gauss-newton, certified") | self._curved(curved)
        left = [name for name, method in self.methods.items() if method == "gauss-newton"]
        if left:
            warnings.warn(
                f"the Gauss-Newton diagonal stands in for the Hessian's of {len(left)} of "
                f"{len(names)} parameters ({left[0]!r}, ...), which it does not equal: their "
                f"second derivatives take {sum(curved[name] for name in left)} products. Pass "
                'curvature="gauss-newton" to accept it, "hutchinson" for unbiased estimates, or '
                '"exact" to wait',
                stacklevel=6,
            )

    def _curved(self, products: dict[str, int]) -> dict[str, str]:
        """Methods for those that are not flat, the cheapest first as long as time allows."""
        if self.choice == "hutchinson":
            return dict.fromkeys(products, "hutchinson")
        size = sum(p.numel() for p in self.engine.model.parameters.values())
        methods, spent = {}, 0
        for name in sorted(products, key=products.__getitem__):
            spent += products[name]
            affordable = self.choice == "exact" or spent * size <= MOST_WORK
            methods[name] = "second derivatives" if affordable else "gauss-newton"
        return methods

    def _products(self, name: str, recording: Recording) -> int:
        """How many products the exact diagonal takes: for each output, or each weight."""
        size = self.engine.model.parameters[name].numel()
        use = _neurons.slots_of(_neurons.single_uses(recording, [name])).get(name)
        outputs = None if use is None else _neurons.n_outputs(*use, len(recording))
        return min(size, size if outputs is None else outputs)

    def _certify(self, recording: Recording, chunk: Batch) -> set[str]:
        outputs = recording.outputs.detach()[: len(chunk)]
        generator = torch.Generator().manual_seed(0)
        seeds = self.loss.gradient_seeds(outputs, chunk.labelled, Probes())
        mix = torch.randn(len(outputs), seeds.count, generator=generator)
        curvature = self.loss.rough_curvature_seeds(outputs, chunk.labelled, generator)
        return certified(
            self.engine.model, chunk.inputs, _mixed(seeds, mix), _written_out(curvature)
        )

    def _add_exact(
        self, recording: Recording, chunk: Batch, names: list[str], reduction: Reduction,
        totals: Tensors,
    ) -> None:  # fmt: skip
        done: set[str] = set()
        wanted = {name: totals[name] for name in names}
        for use, layout in _neurons.single_uses(recording, names):
            outputs = _neurons.n_outputs(use, layout, len(recording))
            own = {slot.name: self.engine.model.parameters[slot.name].numel()
                   for slot in use.slots.values() if slot.name in wanted}  # fmt: skip
            if outputs is not None and outputs <= max(own.values()):
                for loss in self._losses(recording, chunk):
                    _neurons.exact(recording, use, layout, loss, reduction, wanted)
                done |= own.keys()
        total_of = {name: Total(totals[name]) for name in names if name not in done}
        for name, position, part in self._parts(recording, chunk, list(total_of)):
            engine = self.engine.fall_back(chunk.inputs)
            one = self.loss.one(position)
            diagonals = second_derivatives(engine, self.engine.model, one, part, name)
            values = diagonals if reduction is Reduction.FIRST else diagonals.square() / 4
            total_of[name].add(values.sum(0))

    def _add_random(
        self, recording: Recording, chunk: Batch, names: Collection[str], reduction: Reduction,
        probes: Probes, totals: Tensors,
    ) -> None:  # fmt: skip
        wanted = {name: totals[name] for name in names}
        uses = _neurons.single_uses(recording, names)
        for use, layout in uses:
            for loss in self._losses(recording, chunk):
                _neurons.estimate(recording, use, layout, loss, reduction, probes, wanted)
        covered = _neurons.slots_of(uses)
        others = [name for name in names if name not in covered]
        for name, position, part in self._parts(recording, chunk, others):
            engine = self.engine.fall_back(chunk.inputs)
            one = self.loss.one(position)
            estimates = random_diagonals(engine, self.engine.model, one, part, name, probes)
            total = Total(totals[name], _factor(reduction is not Reduction.FIRST))
            total.add(combined(estimates, reduction).sum(0))

    def _parts(
        self, recording: Recording, chunk: Batch, names: list[str]
    ) -> Iterator[tuple[str, int, Batch]]:
        """Each parameter, each kind of loss, and so many examples that memory is bounded."""
        for name in names:
            size = self.engine.model.parameters[name].numel()
            for position in range(self.loss.n_losses(recording.outputs)):
                for part in chunk.chunks(max(1, FALL_BACK_BYTES // (20 * size))):
                    yield name, position, part

    def _losses(self, recording: Recording, chunk: Batch) -> list[torch.Tensor]:
        """Each kind of loss, summed over examples, with its graph."""
        return [
            self.loss.one(position)(recording.outputs, chunk.labelled).sum()
            for position in range(self.loss.n_losses(recording.outputs))
        ]


def _factor(squared: bool) -> float:
    return 0.25 if squared else 1.0  # H is the coefficient of (w - c)^4


def _written_out(seeds: Seeds) -> torch.Tensor:
    """``(examples, seeds, *output)``, weights' magnitudes included."""
    blocks = [seeds.normalised(part) for part in seeds.blocks(None)]
    return torch.cat([vectors * scale**0.5 for vectors, _, scale in blocks]).transpose(0, 1)


def _mixed(seeds: Seeds, mix: torch.Tensor) -> torch.Tensor:
    """The seeds of each example under random weights, which cancel nothing."""
    written = _written_out(seeds)
    return (written * mix.reshape(*mix.shape, *[1] * (written.ndim - 2)).to(written)).sum(1)
