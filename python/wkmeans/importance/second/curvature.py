"""Which second derivatives of which parameter are found how, and their sums."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch

from wkmeans.importance.first.contributions import Total
from wkmeans.importance.first.engine import FALL_BACK_BYTES, Engine, Recording
from wkmeans.importance.first.reductions import Reduction, combined
from wkmeans.importance.first.seeds import Seeds
from wkmeans.importance.losses.losses import Loss, Probes
from wkmeans.importance.model.batches import Batch
from wkmeans.importance.model.functional import Tensors, zeros_like
from wkmeans.importance.run.state import PROBED, PROPAGATED, SAMPLED
from wkmeans.importance.second import neurons
from wkmeans.importance.second.hessian import certified, random_diagonals, second_derivatives
from wkmeans.importance.second.propagation import (
    EXAMPLES_OF_CERTIFICATE,
    Propagation,
    mixed_gradient,
)

CURVATURES = ("auto", "gauss-newton", "exact", "propagation", "hutchinson")
# ``"auto"`` spends this much on second derivatives: products times the weights of the model.
MOST_WORK = 2**28
_DEFAULT_PROBES = {PROPAGATED: 4, SAMPLED: 16}


@dataclass
class Curvature:
    """Sums of Hessian diagonals, or of their squares over four, of one model and loss.

    ``methods`` says, once the first examples are seen, how each parameter's is found:

    - ``"gauss-newton, certified"``: equal to the Hessian, as those examples show;
    - ``"gauss-newton"``: not equal to it, or not asked whether it is;
    - ``"second derivatives"``: exact, by a product for each output or each weight;
    - ``"curvature propagation"``, ``"hutchinson"``: unbiased estimates.

    The first two end in ``", probes"`` where seeds are random.
    """

    engine: Engine
    loss: Loss
    choice: str
    methods: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._propagation = Propagation(self.engine, self.loss)

    def accumulate(
        self, recording: Recording, chunk: Batch, probes: Probes, *, squared: bool,
        totals: Tensors, variances: Tensors,
    ) -> None:  # fmt: skip
        """Add the chunk's diagonals to ``totals``; ``squared``, a quarter of their squares.

        Of those that are random, the sums' variances to ``variances``.
        """
        outputs = recording.outputs.detach()
        settled = self.loss.probes_for(outputs, probes, self.loss.n_factors(outputs))
        if not self.methods:
            self._choose(recording, chunk, probes)
        if settled.count is not None and self.loss.has_probes:
            self.methods = {n: _probed(method) for n, method in self.methods.items()}
        exact = Reduction.SECOND if squared else Reduction.FIRST
        random = Reduction.PAIRS if squared else Reduction.FIRST
        groups = {m: [n for n, own in self.methods.items() if own == m] for m in
                  dict.fromkeys(self.methods.values())}  # fmt: skip
        for name in self._random_names(probes, settled):
            if name not in variances:
                variances[name] = zeros_like(totals[name])
        flat = [n for n, m in self.methods.items() if m.startswith("gauss-newton")]
        if flat:
            seeds = self.loss.curvature_seeds(outputs, chunk.labelled, settled)
            self.engine.accumulate(
                recording, seeds, random if seeds.are_probes else exact, flat, totals,
                _factor(squared), variances if seeds.are_independent else None,
            )  # fmt: skip
        if names := groups.get("second derivatives"):
            self._add_exact(recording, chunk, names, exact, totals)
        if names := groups.get(PROPAGATED):
            self._propagation.accumulate(
                recording, chunk, names, random, _some(probes, PROPAGATED), totals, variances
            )
        if names := groups.get(SAMPLED):
            some = _some(probes, SAMPLED)
            self._add_random(recording, chunk, names, random, some, totals, variances)

    def _random_names(self, probes: Probes, settled: Probes) -> list[str]:
        """Whose estimates come with a variance: one probe alone tells none."""
        return [
            name for name, method in self.methods.items()
            if (method in (PROPAGATED, SAMPLED) and _some(probes, method).count != 1)
            or (method.endswith(PROBED) and settled.count != 1)
        ]  # fmt: skip

    def _choose(self, recording: Recording, chunk: Batch, probes: Probes) -> None:
        names = list(self.engine.model.parameters)
        if self.choice == "gauss-newton":
            self.methods = dict.fromkeys(names, "gauss-newton")
            return
        few = chunk[:EXAMPLES_OF_CERTIFICATE]
        flat, spreading = self._certify(recording, few)
        curved = {n: self._products(n, recording) for n in names if n not in flat}
        chosen = self._curved(curved, spreading, probes)
        self.methods = dict.fromkeys(names, "gauss-newton, certified") | {
            name: method or "gauss-newton" for name, method in chosen.items()
        }
        left = [name for name, method in chosen.items() if method is None]
        if left:
            warnings.warn(
                f"the Gauss-Newton diagonal stands in for the Hessian's of {len(left)} of "
                f"{len(names)} parameters ({left[0]!r}, ...), which it does not equal: their "
                f"second derivatives take {sum(curved[name] for name in left)} products. Pass "
                'curvature="gauss-newton" to accept it, "hutchinson" for unbiased estimates, or '
                '"exact" to wait',
                stacklevel=6,
            )

    def _curved(
        self, products: dict[str, int], spreading: Collection[str], probes: Probes
    ) -> dict[str, str | None]:
        """Methods for those that are not flat, the cheapest first as long as time allows.

        ``None`` where it allows none. `spreading` are those that propagation covers.
        """
        size = sum(p.numel() for p in self.engine.model.parameters.values())
        affordable = MOST_WORK // size
        methods: dict[str, str | None] = {}
        for name in sorted(products, key=products.__getitem__):
            sampled = _some(probes, SAMPLED).count or 1
            if self.choice == "exact" or (self.choice == "auto" and products[name] <= affordable):
                methods[name] = "second derivatives"
                affordable -= products[name]
            elif self.choice != "hutchinson" and name in spreading:
                methods[name] = PROPAGATED
            elif self.choice != "auto" or sampled <= affordable:
                methods[name] = SAMPLED
                affordable -= sampled
            else:
                methods[name] = None
        return methods

    def _products(self, name: str, recording: Recording) -> int:
        """How many products the exact diagonal takes: for each output, or each weight."""
        size = self.engine.model.parameters[name].numel()
        use = neurons.slots_of(neurons.single_uses(recording, [name])).get(name)
        outputs = None if use is None else neurons.n_outputs(*use, len(recording))
        return min(size, size if outputs is None else outputs)

    def _certify(self, recording: Recording, few: Batch) -> tuple[frozenset[str], frozenset[str]]:
        """Those for which Gauss-Newton is the Hessian, and those that propagation covers.

        In one pass where it covers them, else one by one.
        """
        outputs = recording.outputs.detach()[: len(few)]
        together = self._propagation.certify(few, outputs)
        none: frozenset[str] = frozenset()
        flat, curved = (none, none) if together is None else (together.flat, together.curved)
        others = [n for n in self.engine.model.parameters if n not in flat | curved]
        if not others:
            return flat, curved
        generator = torch.Generator().manual_seed(0)
        curvature = self.loss.rough_curvature_seeds(outputs, few.labelled, generator)
        return flat | certified(
            self.engine.model.restricted_to(others),
            few.inputs,
            mixed_gradient(self.loss, outputs, few),
            _written_out(curvature),
        ), curved

    def _add_exact(
        self, recording: Recording, chunk: Batch, names: list[str], reduction: Reduction,
        totals: Tensors,
    ) -> None:  # fmt: skip
        done: set[str] = set()
        wanted = {name: totals[name] for name in names}
        for use, layout in neurons.single_uses(recording, names):
            outputs = neurons.n_outputs(use, layout, len(recording))
            own = {slot.name: self.engine.model.parameters[slot.name].numel()
                   for slot in use.slots.values() if slot.name in wanted}  # fmt: skip
            if outputs is not None and outputs <= max(own.values()):
                for loss in self._losses(recording, chunk):
                    neurons.exact(recording, use, layout, loss, reduction, wanted)
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
        probes: Probes, totals: Tensors, variances: Tensors,
    ) -> None:  # fmt: skip
        wanted = {name: totals[name] for name in names}
        uses = neurons.single_uses(recording, names)
        for use, layout in uses:
            for loss in self._losses(recording, chunk):
                neurons.estimate(recording, use, layout, loss, reduction, probes, wanted, variances)
        covered = neurons.slots_of(uses)
        others = [name for name in names if name not in covered]
        for name, position, part in self._parts(recording, chunk, others):
            engine = self.engine.fall_back(chunk.inputs)
            one = self.loss.one(position)
            estimates = random_diagonals(engine, self.engine.model, one, part, name, probes)
            factor = _factor(reduction is not Reduction.FIRST)
            Total(totals[name], factor).add(combined(estimates, reduction).sum(0))
            if len(estimates) > 1:
                spread = combined(estimates, reduction.variance).sum(0)
                Total(variances[name], factor**2).add(spread)

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


def _probed(method: str) -> str:
    """The method's name where random probes stand for all seeds of Gauss-Newton."""
    return method + PROBED if method.startswith("gauss-newton") and PROBED not in method else method


def _factor(squared: bool) -> float:
    return 0.25 if squared else 1.0  # H is the coefficient of (w - c)^4


def _some(probes: Probes, method: str) -> Probes:
    """As many as were asked for, or as the method needs."""
    return Probes(probes.count or _DEFAULT_PROBES[method], probes.generator)


def _written_out(seeds: Seeds) -> torch.Tensor:
    """``(examples, seeds, *output)``, weights' magnitudes included."""
    blocks = [seeds.normalised(part) for part in seeds.blocks(None)]
    return torch.cat([vectors * scale**0.5 for vectors, _, scale in blocks]).transpose(0, 1)
