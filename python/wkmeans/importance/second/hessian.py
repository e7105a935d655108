"""Per-example diagonals of the loss's Hessian where Gauss-Newton is not exact.

The Hessian of a loss along one tensor is ``J' H_z J + sum_c g_c z_c''``: Gauss-Newton, plus the
output's own curvature weighted by the loss's gradient. Where a model is piecewise linear in each
single tensor (ReLU, pooling, BatchNorm in evaluation, residuals) the second term is zero and a few
backward passes give the whole diagonal. Elsewhere every weight needs its own second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from wkmeans.importance.first.contributions import slices
from wkmeans.importance.first.per_example import PerExampleEngine
from wkmeans.importance.losses.losses import Probes
from wkmeans.importance.model.batches import Batch, Inputs
from wkmeans.importance.model.functional import FunctionalModel, Tensors, plain_kernels

# Per-example losses of outputs and targets: ``(examples,)``.
PerExampleLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Values of `second_derivatives` at one time, examples times weights times weights differentiated
# together: enough to keep the cores busy, few enough to stay near their caches.
_VALUES_AT_ONCE = 2**20


def certified(
    model: FunctionalModel,
    inputs: Inputs,
    gradient: torch.Tensor,
    curvature: torch.Tensor,
) -> set[str]:
    """The parameters for which ``v' H v = v' G v`` in a random direction ``v``, one at a time.

    ``gradient`` is ``(examples, *output)``, the losses' gradients under random signs, ``curvature``
    ``(examples, seeds, *output)`` a square root of their Hessians, or an estimate of it. Two
    quadratic forms that agree in a random direction agree everywhere, with probability one. Their
    difference ``g . z''`` is exactly zero on a piecewise linear model, so the tolerance is a few
    roundings. Costs four backward passes a tensor.
    """
    leaves = model.leaves()
    with torch.enable_grad():
        outputs = model(leaves, inputs)
        if not outputs.requires_grad:
            return set(leaves)  # it depends on none of them
        carrier = torch.zeros_like(outputs, requires_grad=True)
        return {
            name
            for name, leaf in leaves.items()
            if _is_flat(outputs, leaf, carrier, gradient.to(outputs), curvature)
        }


def _is_flat(
    outputs: torch.Tensor,
    leaf: torch.Tensor,
    carrier: torch.Tensor,
    gradient: torch.Tensor,
    curvature: torch.Tensor,
) -> bool:
    generator = torch.Generator().manual_seed(0)  # the user's random state stays as it is
    direction = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)
    try:
        slope = _pulled_along(outputs, leaf, carrier, direction)
        if slope is None:
            return True
        (tangents,) = torch.autograd.grad(slope, carrier, retain_graph=True)
        bent = _pulled_along(outputs, leaf, gradient, direction)
        if bent is None or not bent.requires_grad:
            return True
        (row,) = torch.autograd.grad(bent, leaf, retain_graph=True, allow_unused=True)
    except RuntimeError:  # an operation without a second derivative in reverse mode
        return False
    if row is None:
        return True
    gap = float((row.double() * direction.double()).sum().abs())
    projections = (curvature.double() * tangents.double().unsqueeze(1)).flatten(2).sum(2)
    return gap <= 100 * torch.finfo(leaf.dtype).eps * float(projections.square().sum())


def _pulled_along(
    outputs: torch.Tensor, leaf: torch.Tensor, seed: torch.Tensor, direction: torch.Tensor
) -> torch.Tensor | None:
    """``seed' J direction``, itself differentiable."""
    (pulled,) = torch.autograd.grad(outputs, leaf, seed, create_graph=True, allow_unused=True)
    return None if pulled is None else (pulled * direction).sum()


def second_derivatives(
    engine: PerExampleEngine,
    model: FunctionalModel,
    per_example: PerExampleLoss,
    batch: Batch,
    name: str,
) -> torch.Tensor:
    """``d2 L_n / dw2`` of one tensor, ``(examples, *parameter)``, float64.

    Exact whatever the model, by a product for each weight; memory is bounded by differentiating
    along a few weights at a time.
    """
    only = model.restricted_to([name])
    parameter = only.parameters[name]

    def of_one(axis: torch.Tensor, target: torch.Tensor, *example: torch.Tensor) -> Tensors:
        inputs = batch.inputs.holding(tuple(tensor.unsqueeze(0) for tensor in example))

        def loss_of_one(parameters: Tensors) -> torch.Tensor:
            return per_example(only(parameters, inputs), target.unsqueeze(0))[0]

        return {name: _curvature_along({name: axis}, loss_of_one, only.parameters)}

    def along(axis: torch.Tensor) -> Tensors:
        return engine.map(partial(of_one, axis), batch.labelled, *batch.inputs.tensors)

    size, columns = parameter.numel(), []
    for part in slices(size, max(1, _VALUES_AT_ONCE // (size * len(batch)))):
        indices = torch.arange(part.start, part.stop, device=parameter.device)
        axes = functional.one_hot(indices, size).to(parameter.dtype)
        with plain_kernels():
            columns.append(engine.map(along, axes.reshape(-1, *parameter.shape))[name])
    return torch.cat(columns).T.reshape(len(batch), *parameter.shape)


def random_diagonals(
    engine: PerExampleEngine,
    model: FunctionalModel,
    per_example: PerExampleLoss,
    batch: Batch,
    name: str,
    probes: Probes,
) -> torch.Tensor:
    """Hutchinson's estimates ``v * (H_n v)`` over their number, ``(probes, examples, *parameter)``.

    For any parameter; a Hessian-vector product for each probe and example.
    """
    only = model.restricted_to([name])
    parameter = only.parameters[name]
    count = probes.count or 1

    def of_one(sign: torch.Tensor, target: torch.Tensor, *example: torch.Tensor) -> Tensors:
        inputs = batch.inputs.holding(tuple(tensor.unsqueeze(0) for tensor in example))

        def loss_of_one(parameters: Tensors) -> torch.Tensor:
            return per_example(only(parameters, inputs), target.unsqueeze(0))[0]

        tangents: Any = torch.func.jvp(
            torch.func.grad(loss_of_one), (only.parameters,), ({name: sign},)
        )
        return {name: sign * tangents[1][name] / count}

    with plain_kernels():
        each = [
            engine.map(
                of_one,
                probes.signs((len(batch), *parameter.shape), parameter).to(parameter.dtype),
                batch.labelled,
                *batch.inputs.tensors,
            )[name]
            for _ in range(count)
        ]
    return torch.stack(each).double()


def _curvature_along(
    direction: Tensors, function: Callable[[Tensors], torch.Tensor], point: Tensors
) -> torch.Tensor:
    """``v' H v`` of a scalar function, in double.

    Forward over reverse: nested forward mode would do without the gradients, but torch 2.13's is
    wrong for LayerNorm and InstanceNorm, silently.
    """
    # Annotated by torch as if it could have an auxiliary output.
    tangents: Any = torch.func.jvp(torch.func.grad(function), (point,), (direction,))
    return torch.stack(
        [(direction[name].double() * row.double()).sum() for name, row in tangents[1].items()]
    ).sum()
