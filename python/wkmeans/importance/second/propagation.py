"""Curvature propagation: Hessian diagonals by carrying random curvature back to every parameter.

Put random ``a_i`` and ``b_i`` with ``E a_i b_i' = M_i`` at the inputs of every bending call, and
two more at the outputs for the loss's own curvature: ``E (sum_i J_i' a_i) (sum_i J_i' b_i)'`` is
the Hessian along a tensor (Martens, Sutskever and Swersky 2012; half the sum of ``a`` and ``b`` is
the stream of positive curvature, half their difference that of negative). Two backward passes give
an estimate for every parameter at once.

As with `_neurons` it holds where a layer is affine in its parameter and uses it once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from wkmeans.importance.first.engine import Engine, Recording, contributions_of, gradients
from wkmeans.importance.first.reductions import Reduction
from wkmeans.importance.first.seeds import Seeds
from wkmeans.importance.losses.losses import Loss, Probes
from wkmeans.importance.model.batches import Batch, Inputs
from wkmeans.importance.model.calls import (
    Call,
    Calls,
    ChangedCallsError,
    LocalCurvature,
    Step,
    pulled_back,
)
from wkmeans.importance.model.functional import Tensors, plain_kernels
from wkmeans.importance.second import neurons
from wkmeans.importance.second.paired import add_products

EXAMPLES_OF_CERTIFICATE = 4
_PILOTS = 4
# Against a division by zero where the pilots see nothing, relative to the mean.
_FLOOR = 1e-3


@dataclass(frozen=True)
class Certificate:
    """What the first examples show: the calls to expect, and which parameters curvature reaches.

    ``flat`` are those along which the model is affine, so that Gauss-Newton is the Hessian;
    ``curved`` the others that propagation covers. A parameter in neither is not for it.
    """

    steps: tuple[Step, ...]
    flat: frozenset[str]
    curved: frozenset[str]


def certify(engine: Engine, inputs: Inputs, seed: torch.Tensor) -> Certificate | None:
    """All parameters in one pass; ``None`` where the calls seen do not explain the curvature.

    ``seed`` is ``(examples, *output)``. Random curvature of every bending call is carried back: a
    parameter is flat where none arrives. That no call went unseen (code without torch functions) is
    checked by one Hessian-vector product in a random direction at all layers' outputs. Costs some
    ten backward passes through these few examples, for however many parameters.
    """
    try:
        with plain_kernels():
            return _certify(engine, inputs, seed)
    except RuntimeError:  # an operation without a second derivative, or calls that change
        return None


def _certify(engine: Engine, inputs: Inputs, seed: torch.Tensor) -> Certificate | None:
    recording, calls = _record_whole(engine, inputs)
    uses = neurons.single_uses(recording, engine.model.parameters)
    edges = [use.edge for use, _ in uses]
    if not edges:
        return None
    apart = _apart(recording, calls)
    at_outputs = _at_outputs(recording.outputs, calls, seed)
    local = [
        call.curvature(positions, own) if positions else None
        for call, positions, own in zip(calls, apart, at_outputs, strict=True)
    ]
    steps = tuple(
        replace(call.step, bends=tuple(positions) if own is not None else ())
        for call, positions, own in zip(calls, apart, local, strict=True)
    )
    bending = [
        (own, [call.inputs[i] for i in step.bends or ()])
        for call, step, own in zip(calls, steps, local, strict=True)
        if own is not None
    ]
    if not _explains(recording.outputs, edges, seed, bending):
        return None
    arriving = _arriving(bending, edges)
    names: tuple[set[str], set[str]] = (set(), set())
    for (use, _), curved in zip(uses, arriving, strict=True):
        names[curved].update(slot.name for slot in use.slots.values())
    return Certificate(steps, frozenset(names[0]), frozenset(names[1]))


def _record_whole(engine: Engine, inputs: Inputs) -> tuple[Recording, list[Call]]:
    """Every call, once more where some of their inputs have been overwritten."""
    recording, calls = _record(engine, inputs, None)
    steps = [replace(call.step, copied=call.is_overwritten) for call in calls]
    if any(step.copied for step in steps):
        return _record(engine, inputs, steps)
    return recording, calls


def _record(
    engine: Engine, inputs: Inputs, steps: Sequence[Step] | None
) -> tuple[Recording, list[Call]]:
    with Calls(steps) as calls:
        recording = engine.record(inputs)
    return recording, calls.made


def _apart(recording: Recording, calls: Sequence[Call]) -> list[list[int]]:
    """The inputs of each call in which no two examples meet: what is made of parameters does."""
    places = [(c, i) for c, call in enumerate(calls) for i in call.inputs]
    edges = [calls[c].inputs[i] for c, i in places]
    seen: list[torch.Tensor | None] = [None] * len(edges)
    found: list[list[int]] = [[] for _ in calls]
    met: set[int] = set()
    generator = torch.Generator().manual_seed(0)
    for example in range(min(2, len(recording))):
        seed = torch.zeros_like(recording.outputs)
        seed[example] = torch.randn(seed[example].shape, generator=generator).to(seed)
        for k, delta in enumerate(gradients(recording.outputs, edges, seed)):
            touched = None if delta is None else delta != 0
            if touched is not None and (before := seen[k]) is not None:
                met |= {k} if bool((touched & before).any()) else set()
            seen[k] = touched if touched is not None else seen[k]
    for k, (c, i) in enumerate(places):
        if k not in met:
            found[c].append(i)
    return found


def _at_outputs(
    outputs: torch.Tensor, calls: Sequence[Call], seed: torch.Tensor
) -> list[list[torch.Tensor | None]]:
    """What reaches each output of each call from ``seed``."""
    found = iter(gradients(outputs, [e for call in calls for e in call.outputs.values()], seed))
    return [[next(found) for _ in call.outputs] for call in calls]


def _explains(
    outputs: torch.Tensor,
    edges: Sequence[Any],
    seed: torch.Tensor,
    bending: Sequence[tuple[LocalCurvature, list[Any]]],
) -> bool:
    """``d' H d = sum_i (J_i d)' M_i (J_i d)`` for a random ``d`` at all of ``edges``."""
    first = torch.autograd.grad(outputs, edges, seed, create_graph=True, allow_unused=True)
    directions = _random_like([torch.zeros(()) if g is None else g for g in first])
    total = 0.0
    bent = [i for i, g in enumerate(first) if g is not None and g.requires_grad]
    if bent:
        second = torch.autograd.grad(
            [first[i] for i in bent], edges, [directions[i] for i in bent],
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
        total = _dot(second, directions)
    parts = [0.0]
    roots = [edge for _, own in bending for edge in own]
    if roots:
        tangents = iter(
            _tangents(roots, [c for own, _ in bending for c in own.inputs], edges, directions)
        )
        for own, places in bending:
            along = [next(tangents) for _ in places]
            products = own.product([t.unsqueeze(0) for t in along])
            parts.append(_dot([p.squeeze(0) for p in products], along))
    tolerance = math.sqrt(torch.finfo(outputs.dtype).eps)
    return abs(total - sum(parts)) <= tolerance * sum(map(abs, parts))


def _tangents(
    roots: Sequence[Any], like: Sequence[torch.Tensor], edges: Sequence[Any],
    directions: Sequence[torch.Tensor],
) -> list[torch.Tensor]:  # fmt: skip
    """``J d`` at each of ``roots``: the derivative of what they pull back by what is pulled."""
    carriers = [torch.zeros_like(tensor).requires_grad_() for tensor in like]
    pulled = torch.autograd.grad(roots, edges, carriers, create_graph=True, allow_unused=True)
    kept = [(p, d) for p, d in zip(pulled, directions, strict=True) if p is not None]
    if not kept:
        return [torch.zeros_like(tensor) for tensor in like]
    slopes, along = zip(*kept, strict=True)
    found = torch.autograd.grad(slopes, carriers, along, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(c) if t is None else t for t, c in zip(found, carriers, strict=True)]


def _arriving(
    bending: Sequence[tuple[LocalCurvature, list[Any]]], edges: Sequence[Any]
) -> list[bool]:
    """Whether any curvature reaches each of ``edges``."""
    roots, vectors = [], []
    for own, places in bending:
        roots += places
        vectors += own.product([v.unsqueeze(0) for v in _random_like(own.inputs)])
    found = pulled_back(roots, edges, vectors) if roots else [None] * len(edges)
    return [delta is not None and bool((delta != 0).any()) for delta in found]


@dataclass
class Propagation:
    """Estimates for every parameter that `certify` found curved.

    ``steps`` are those of the examples seen last, ``n_shown`` how many they were: one example
    shows nothing of what is shared between them.
    """

    engine: Engine
    loss: Loss
    steps: tuple[Step, ...] | None = None
    n_shown: int = 0

    def certify(self, few: Batch, outputs: torch.Tensor) -> Certificate | None:
        """The certificate of some examples, whose steps are expected from now on."""
        certificate = certify(self.engine, few.inputs, mixed_gradient(self.loss, outputs, few))
        self.steps = None if certificate is None else certificate.steps
        self.n_shown = len(few)
        return certificate

    def accumulate(
        self, recording: Recording, chunk: Batch, names: Collection[str], reduction: Reduction,
        probes: Probes, totals: Tensors, variances: Tensors,
    ) -> None:  # fmt: skip
        """Add estimates of ``h`` (``FIRST``) or ``h^2 / 4`` (``PAIRS``), and their variances.

        Two backward passes for each probe and loss, a few examples at a time.
        """
        size = recording.fitting(2 * (probes.count or 1))
        for part in _parts(chunk, size):
            some, calls = self._record(part)
            for position in range(self.loss.n_losses(some.outputs)):
                places, streams = self._streams(some, calls, part, position, probes)
                _add(some, places, streams, names, reduction, totals, variances)

    def _record(self, part: Batch) -> tuple[Recording, list[Call]]:
        if self.steps is not None and (self.n_shown > 1 or len(part) == 1):
            try:
                return _record(self.engine, part.inputs, self.steps)
            except ChangedCallsError:  # longer sequences, say
                pass
        few = part[:EXAMPLES_OF_CERTIFICATE]
        with torch.no_grad():
            outputs = self.engine.model(self.engine.model.parameters, few.inputs)
        if self.certify(few, outputs) is None:
            raise ValueError(
                "model: curvature does not propagate through this batch as it did through the "
                'first; pass curvature="hutchinson"'
            )
        return _record(self.engine, part.inputs, self.steps)

    def _streams(
        self,
        recording: Recording,
        calls: Sequence[Call],
        part: Batch,
        position: int,
        probes: Probes,
    ) -> tuple[list[Any], list[torch.Tensor]]:
        """Where curvature comes from, and ``a`` and ``b`` there, ``(2 * probes, *place)``."""
        outputs = recording.outputs.detach()
        pair = _random_curvature(self.loss, outputs, part.labelled, position, probes)
        places: list[Any] = [recording.outputs]
        streams = [torch.cat(pair).to(outputs)]
        seeds = self.loss.gradient_seeds(outputs, part.labelled, Probes())
        (gradient,), _ = _group(seeds, position)
        with plain_kernels():
            at_outputs = _at_outputs(recording.outputs, calls, gradient.to(outputs))
            for call, own in zip(calls, at_outputs, strict=True):
                positions = call.step.bends or ()
                local = call.curvature(positions, own)
                if local is not None and (found := _factors(local, probes)) is not None:
                    places += [call.inputs[i] for i in positions]
                    streams += found
        return places, streams


def _add(
    recording: Recording, places: Sequence[Any], streams: Sequence[torch.Tensor],
    names: Collection[str], reduction: Reduction, totals: Tensors, variances: Tensors,
) -> None:  # fmt: skip
    """Pull the streams back to every use, and add their products."""
    uses = neurons.single_uses(recording, names)
    deltas = pulled_back(places, [use.edge for use, _ in uses], streams)
    for use, layout in reversed(uses):
        delta = deltas.pop()  # a use's at a time is held
        if delta is None:
            continue
        first, second = (
            dict(contributions_of(use, layout, half, len(recording))) for half in delta.chunk(2)
        )
        for slot in first:
            if slot.name in names:
                add_products(first[slot], second[slot], reduction, slot, totals, variances)


def _parts(chunk: Batch, size: int) -> Iterator[Batch]:
    """Never one example by itself, for which the engine would check the model anew."""
    starts = range(0, max(1, len(chunk) - 1), max(2, size))
    for start, stop in zip(starts, [*starts[1:], len(chunk)], strict=True):
        yield chunk[start:stop]


def mixed_gradient(loss: Loss, outputs: torch.Tensor, few: Batch) -> torch.Tensor:
    """The gradients of each example's losses under random weights, which cancel nothing."""
    seeds = loss.gradient_seeds(outputs, few.labelled, Probes())
    vectors, _, scale = seeds.normalised(slice(0, seeds.count))
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(vectors.shape[:2], generator=generator).to(vectors) * math.sqrt(scale)
    return (vectors * mix.reshape(*mix.shape, *[1] * (vectors.ndim - 2))).sum(0)


def _group(seeds: Seeds, position: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The seeds of the loss at ``position``, ``(seeds, examples, *output)``, and their signs."""
    first = position * seeds.per_group
    vectors, signs, scale = seeds.normalised(slice(first, first + seeds.per_group))
    return vectors * scale**0.5, signs


def _random_curvature(
    loss: Loss, outputs: torch.Tensor, targets: torch.Tensor, position: int, probes: Probes
) -> tuple[torch.Tensor, torch.Tensor]:
    """``a`` and ``b`` at the outputs, with ``E a b'`` the Hessian of the loss at ``position``."""
    count = probes.count or 1
    if loss.has_probes:
        vectors, _ = _group(loss.curvature_seeds(outputs, targets, probes), position)
        return vectors * count**0.5, vectors * count**0.5
    vectors, signs = _group(loss.curvature_seeds(outputs, targets, Probes()), position)
    random = probes.signs((count, *vectors.shape[:2]), vectors)
    first = torch.einsum("ksn,sn...->kn...", random, vectors)
    if signs is None:
        return first, first
    return first, torch.einsum("ksn,sn...->kn...", random * signs, vectors)


def _factors(local: LocalCurvature, probes: Probes) -> list[torch.Tensor] | None:
    """``a = D v`` and ``b = M v / D`` for random signs ``v``, so that ``E a b' = M``.

    ``D^2`` is the size of each row of ``M``, as other random signs show it: exactly, where a call
    works element by element, and there ``a`` and ``b`` are what is best, ``sqrt |M|``. ``None``
    where ``M`` is zero.
    """

    def signs(count: int) -> list[torch.Tensor]:
        return [probes.signs((count, *t.shape), t).to(t.dtype) for t in local.inputs]

    sizes = [product.square().mean(0).sqrt() for product in local.product(signs(_PILOTS))]
    if not any(bool(size.any()) for size in sizes):
        return None
    scales = [_balanced(size) for size in sizes]
    random = signs(probes.count or 1)
    second = local.product([v / scale for scale, v in zip(scales, random, strict=True)])
    return [
        torch.cat([scale * v, product])
        for scale, v, product in zip(scales, random, second, strict=True)
    ]


def _balanced(sizes: torch.Tensor) -> torch.Tensor:
    mean = float(sizes.mean())
    return (sizes + _FLOOR * mean).sqrt() if mean > 0 else torch.ones_like(sizes)


def _random_like(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)  # the user's random state stays as it is
    return [torch.randn(t.shape, generator=generator).to(t) for t in tensors]


def _dot(first: Sequence[torch.Tensor | None], second: Sequence[torch.Tensor]) -> float:
    return sum(
        float((a.double() * b.double()).sum()) for a, b in zip(first, second, strict=True)
        if a is not None
    )  # fmt: skip
