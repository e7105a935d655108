"""The engine: seeds at the model's output, carried back to every use of a parameter, and squared.

One forward pass, one backward pass for each seed, no weight gradient. Parameters that the analytic
rules do not cover, all or in part, go through `_per_example`.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from wkmeans._groups import in_groups
from wkmeans.importance.first.contributions import (
    Contribution,
    Total,
    reduce,
    slices,
    summed_gradients,
)
from wkmeans.importance.first.per_example import PerExampleEngine, engine_for
from wkmeans.importance.first.reductions import Reduction, combined
from wkmeans.importance.first.reverse import UnknownOperationError, pull_back
from wkmeans.importance.first.seeds import Seeds
from wkmeans.importance.first.tape import Slot, Tape, Use, parameters_of
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import FunctionalModel, Tensors
from wkmeans.importance.model.layout import Layout, find_layout

_log = logging.getLogger(__name__)

# Deltas of all seeds at one time stay under this: near what caches hold, or enough to fill a GPU.
DELTA_BYTES = 32 * 2**20
DELTA_BYTES_OF_GPU = 256 * 2**20
# Where a layer goes through its steps one by one the more go along the better.
DELTA_BYTES_OF_STEPS = 128 * 2**20
# Gradients that are compared at one time.
_TOGETHER = 32 * 2**20
# The gradients of the fall-back stay under this.
FALL_BACK_BYTES = 32 * 2**20

# Of terms that cancel, whose errors add up as random numbers do; beside terms that do not cancel it
# is nothing.
_ROUNDINGS = 32.0


@dataclass(frozen=True)
class Plan:
    """What the first examples have shown of a model's uses of its parameters.

    ``layouts`` has one entry for each use, ``covered`` the parameters whose uses are complete,
    ``reasons`` why the others are not, ``delta_bytes`` the size of one example's deltas.
    """

    layouts: tuple[Layout | None, ...]
    covered: frozenset[str]
    reasons: dict[str, str]
    delta_bytes: int


@dataclass(frozen=True)
class Recording:
    """A forward pass, ready for backward passes."""

    inputs: Inputs
    outputs: torch.Tensor
    uses: tuple[Use, ...]
    plan: Plan

    def __len__(self) -> int:
        return len(self.inputs)

    def fitting(self, n: int) -> int:
        """How many times ``n`` deltas stay within bounds, one at least."""
        bound = DELTA_BYTES if self.outputs.is_cpu else DELTA_BYTES_OF_GPU
        if any(use.rule.at is not None for use in self.uses):
            bound = max(bound, DELTA_BYTES_OF_STEPS)
        return max(1, bound // max(1, n * self.plan.delta_bytes))


class Engine:
    """Sums of squares of per-example gradients, for one model."""

    def __init__(self, model: FunctionalModel) -> None:
        self.model = model
        self._plans: dict[Any, Plan] = {}
        self._fall_back: PerExampleEngine | None = None
        self._known_operations = True
        self._batched_backward = True

    @property
    def covered(self) -> frozenset[str]:
        """The parameters that the analytic rules have covered in every batch."""
        plans = [plan.covered for plan in self._plans.values()]
        return frozenset.intersection(*plans) if plans else frozenset()

    def record(self, inputs: Inputs) -> Recording:
        """Run the model, and know which uses belong to which example."""
        outputs, uses, _ = self.run(inputs)
        key = (len(inputs) > 1, *(use.signature for use in uses))
        if key not in self._plans:
            self._plans[key] = self._make_plan(inputs[:2], uses)
        return Recording(inputs, outputs, uses, self._plans[key])

    def accumulate(
        self,
        recording: Recording,
        seeds: Seeds,
        reduction: Reduction,
        names: Collection[str],
        totals: Tensors,
        weight: float = 1.0,
        variances: Tensors | None = None,
    ) -> None:
        """Add ``weight`` times the reduction over the recording's examples to ``totals``.

        For the parameters named; see `_reductions`. ``totals`` are float64, as are ``variances``,
        to which what probes leave uncertain is added.
        """
        wanted = [(reduction, totals, weight)]
        if variances is not None:
            wanted.append((reduction.variance, variances, weight**2))
        covered = recording.plan.covered & set(names)
        limit = recording.fitting(len(recording))
        others = [name for name in names if name not in covered]
        in_parts = reduction is Reduction.FIRST and variances is None
        for part in seeds.blocks(limit if in_parts else None):
            vectors, signs, scale = seeds.normalised(part)
            scaled = [(one, sums, own * scale**one.degree) for one, sums, own in wanted]
            if covered:
                found = self._contributions(recording, vectors, covered)
                for slot, contributions in found.items():
                    for one, sums, own in scaled:
                        reduce(contributions, signs, one, Total(slot.of(sums), own))
            if others:
                self._accumulate_others(recording.inputs, vectors, signs, scaled, others)

    def fall_back(self, inputs: Inputs) -> PerExampleEngine:
        """What differentiates one example at a time, together or in turn."""
        if self._fall_back is None:
            self._fall_back = engine_for(self.model, inputs)
        return self._fall_back

    def run(self, inputs: Inputs) -> tuple[torch.Tensor, tuple[Use, ...], Tensors]:
        """A forward pass: outputs, uses of parameters in order, and the graph's leaves."""
        leaves = self.model.leaves()
        tape = Tape(leaves)
        with torch.enable_grad(), tape.watching(self.model.module):
            outputs = self.model(leaves, inputs)
        return outputs, tuple(tape.uses), leaves

    def _contributions(
        self, recording: Recording, vectors: torch.Tensor, names: Collection[str]
    ) -> dict[Slot, list[Contribution]]:
        chosen = [
            (use, layout)
            for use, layout in zip(recording.uses, recording.plan.layouts, strict=True)
            if not parameters_of([use]).isdisjoint(names)
        ]
        deltas = self.back_propagate(recording.outputs, [use for use, _ in chosen], vectors)
        found: dict[Slot, list[Contribution]] = defaultdict(list)
        for (use, layout), delta in zip(chosen, deltas, strict=True):
            if delta is None or layout is None:
                continue
            for slot, contribution in contributions_of(use, layout, delta, len(recording)):
                if slot.name in names:
                    found[slot].append(contribution)
        return found

    def back_propagate(
        self, outputs: torch.Tensor, uses: Sequence[Use], vectors: torch.Tensor
    ) -> list[torch.Tensor | None]:
        """Deltas ``(seeds, *output of the use)`` of ``vectors``, ``(seeds, *outputs)``."""
        vectors = vectors.to(outputs.dtype)
        edges = [use.edge for use in uses]
        if edges and self._known_operations:
            try:
                return pull_back(outputs, edges, vectors)
            except UnknownOperationError as error:
                _log.info("seeds go through autograd's map: no rule for %s", error)
                self._known_operations = False
        if len(vectors) > 1 and self._batched_backward:
            try:
                return gradients(outputs, edges, vectors, is_grads_batched=True)
            except RuntimeError:  # an operation that vmap refuses
                self._batched_backward = False
        each = [gradients(outputs, edges, vector) for vector in vectors]
        return [
            None if one[0] is None else torch.stack([g for g in one if g is not None])
            for one in zip(*each, strict=True)
        ]

    def _make_plan(self, inputs: Inputs, uses: Sequence[Use]) -> Plan:
        signatures = [use.signature for use in uses]
        with self.model.no_randomness():
            outputs, uses, leaves = self.run(inputs)
        reasons = dict.fromkeys(self.model.parameters, "no analytic rule sees it")
        if [use.signature for use in uses] != signatures:
            reasons = dict.fromkeys(reasons, "the model's calls change with its batch")
            return Plan((None,) * len(signatures), frozenset(), reasons, 0)
        layouts = self._find_layouts(outputs, uses)
        covered = self._complete(outputs, uses, leaves, layouts, reasons)
        n = len(inputs)
        size = sum(use.output_bytes for use in uses if not parameters_of([use]).isdisjoint(covered))
        for name in covered:
            del reasons[name]
        return Plan(tuple(layouts), frozenset(covered), reasons, -(-size // n))

    def _find_layouts(self, outputs: torch.Tensor, uses: Sequence[Use]) -> list[Layout | None]:
        n = len(outputs)
        touched: list[list[torch.Tensor]] = [[] for _ in uses]
        for example in range(n):
            seed = torch.zeros_like(outputs)
            seed[example] = _random_like(outputs[example])
            for use, delta, found in zip(
                uses, self.back_propagate(outputs, uses, seed.unsqueeze(0)), touched, strict=True
            ):
                if delta is not None:
                    nonzero = delta[0].detach() != 0
                    found.append(nonzero.unsqueeze(-1).flatten(len(use.lead)).any(-1).cpu())
        return [find_layout(found) if len(found) == n else None for found in touched]

    def _complete(
        self, outputs: torch.Tensor, uses: Sequence[Use], leaves: Tensors,
        layouts: Sequence[Layout | None], reasons: dict[str, str],
    ) -> set[str]:  # fmt: skip
        """Parameters whose uses' gradients add up to autograd's, of all examples together."""
        n = len(outputs)
        seed = _random_like(outputs)
        sums: dict[str, torch.Tensor] = {}
        squares: dict[str, torch.Tensor] = {}  # of the terms of biases' gradients
        partial: set[str] = set()
        deltas = self.back_propagate(outputs, uses, seed.unsqueeze(0))
        for use, layout, delta in zip(uses, layouts, deltas, strict=True):
            if layout is None:
                partial |= (names := parameters_of([use]))
                reasons |= dict.fromkeys(names, "examples are not separate where it is used")
            elif delta is not None:
                for slot, contribution in contributions_of(use, layout, delta, n):
                    self._add(sums, slot, contribution)
                if (bias := use.slots.get("bias")) is not None:
                    for slot, contribution in contributions_of(use, layout, delta.square(), n):
                        if slot is bias:
                            self._add(squares, slot, contribution)
        candidates = [name for name in leaves if name not in partial and not _overlap(uses, name)]
        complete = set()
        for group in in_groups(candidates, lambda name: leaves[name].nbytes, _TOGETHER):
            expected = gradients(outputs, [leaves[name] for name in group], seed)
            for name, autograd in zip(group, expected, strict=True):
                mine = sums.pop(name, None)
                if autograd is None:
                    complete.add(name)  # the output does not depend on it
                elif mine is not None and _agree(mine, autograd, squares.get(name)):
                    complete.add(name)
                elif mine is not None:
                    reasons[name] = "the analytic rules see only some of its uses"
        return complete

    def _add(self, sums: dict[str, torch.Tensor], slot: Slot, contribution: Contribution) -> None:
        gradient = summed_gradients(contribution)
        if slot.name not in sums:
            like = self.model.parameters[slot.name]
            sums[slot.name] = torch.zeros_like(like, dtype=gradient.dtype)
        slot.of(sums).add_(gradient)

    def _accumulate_others(
        self,
        inputs: Inputs,
        vectors: torch.Tensor,
        signs: torch.Tensor | None,
        wanted: Sequence[tuple[Reduction, Tensors, float]],
        names: Collection[str],
    ) -> None:
        engine, model = self.fall_back(inputs), self.model.restricted_to(names)
        n_seeds, n = vectors.shape[:2]
        weights = signs if signs is not None else vectors.new_ones(n_seeds, n)
        one_by_one = any(reduction.sees_probes for reduction, _, _ in wanted)
        groups = list(slices(n_seeds, 1 if one_by_one else n_seeds))
        size = sum(p.numel() for p in model.parameters.values())
        for part in slices(n, max(1, FALL_BACK_BYTES // (20 * size))):
            each = [
                engine.weighted_squares(
                    model, inputs[part],
                    vectors[group, part].transpose(0, 1), weights[group, part].transpose(0, 1),
                )
                for group in groups
            ]  # fmt: skip
            for name in names:
                squares = torch.stack([one[name] for one in each])
                for reduction, sums, scale in wanted:
                    Total(sums[name], scale).add(combined(squares, reduction).sum(0))


def contributions_of(
    use: Use, layout: Layout, delta: torch.Tensor, n: int
) -> Iterator[tuple[Slot, Contribution]]:
    """The gradients that a use adds, from deltas ``(seeds, *output of the use)``."""
    lead = len(use.lead)
    wide = torch.promote_types(delta.dtype, torch.float32)
    deltas = layout.split(delta.detach().to(wide), n, lead, batched=1)
    return use.contributions(deltas, lambda tensor: layout.split(tensor, n, lead))


def gradients(
    outputs: torch.Tensor, inputs: Sequence[Any], vectors: torch.Tensor, *,
    is_grads_batched: bool = False,
) -> list[torch.Tensor | None]:  # fmt: skip
    """Derivatives of ``vectors . outputs``, dense; ``None`` for what they do not depend on."""
    if not inputs or not outputs.requires_grad:
        return [None] * len(inputs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        found = torch.autograd.grad(
            outputs,
            inputs,
            vectors,
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=is_grads_batched,
        )
    return [None if one is None else one.to_dense() for one in found]


def _random_like(tensor: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)  # the user's random state stays as it is
    return torch.randn(tensor.shape, generator=generator).to(tensor)


def _agree(mine: torch.Tensor, autograd: torch.Tensor, squares: torch.Tensor | None) -> bool:
    """Whether they differ by rounding; `squares` are those of the terms of the sums, where known.

    Terms may cancel: softmax does not change with the bias of keys, whose gradient is what rounding
    leaves of zero.
    """
    eps = torch.finfo(autograd.dtype).eps
    tolerance = math.sqrt(eps) * _largest(autograd)
    if squares is not None:
        tolerance = max(tolerance, _ROUNDINGS * eps * math.sqrt(float(squares.max())))
    return _largest(mine - autograd) <= tolerance


def _largest(values: torch.Tensor) -> float:
    """The largest magnitude; NaN where a value is."""
    least, most = values.aminmax()
    return max(-float(least), float(most))


def _overlap(uses: Sequence[Use], name: str) -> bool:
    """Whether blocks of rows meet that are not the same: squares would miss what they share."""
    blocks = {slot.rows for use in uses for slot in use.slots.values() if slot.name == name}
    if None in blocks:
        return len(blocks) > 1
    ordered = sorted(block for block in blocks if block is not None)
    return any(a[1] > b[0] for a, b in pairwise(ordered))
