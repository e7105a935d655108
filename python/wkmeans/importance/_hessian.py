"""Exact per-example diagonals of the loss's Hessian.

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

from wkmeans.importance._functional import FunctionalModel, Tensors
from wkmeans.importance._losses import Loss, Seeds
from wkmeans.importance._per_example import PerExampleEngine

# Values of `second_derivatives` at one time, examples times weights times weights differentiated
# together: enough to keep the cores busy, few enough to stay near their caches.
_VALUES_AT_ONCE = 2**20


def hessian_diagonals(
    engine: PerExampleEngine,
    model: FunctionalModel,
    loss: Loss,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    outputs: torch.Tensor,
) -> Tensors:
    """``d2 L_n / dw2`` for each example and weight, ``(examples, *parameter)``, float64, exact.

    Gauss-Newton for the tensors whose certificate holds on these very examples (one backward pass
    for each output), the true second derivative, weight by weight, for the others.
    """
    gradient = loss.gradient_seeds(outputs, targets)
    curvature = loss.curvature_seeds(outputs, targets)
    certified = [
        name
        for name in model.parameters
        if gauss_newton_is_exact(engine, model.restricted_to([name]), inputs, gradient, curvature)
    ]
    diagonals: Tensors = {}
    if certified:
        diagonals = engine.weighted_squares(model.restricted_to(certified), inputs, curvature)
    for name in model.parameters:
        if name not in diagonals:
            only = model.restricted_to([name])
            diagonals |= second_derivatives(engine, only, loss, inputs, targets)
    return {name: diagonals[name] for name in model.parameters}


def gauss_newton_is_exact(
    engine: PerExampleEngine,
    model: FunctionalModel,
    inputs: torch.Tensor,
    gradient: Seeds,
    curvature: Seeds,
) -> bool:
    """Certify ``v' H_n v = v' G_n v`` for a random direction ``v`` of the model's parameters.

    Two quadratic forms that agree in a random direction agree everywhere, with probability one.
    Their difference ``g . z''`` is exactly zero on a piecewise linear model, so the tolerance is a
    few roundings. Costs one Hessian-vector product.
    """
    generator = torch.Generator().manual_seed(0)  # the user's random state stays as it is
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
        for name, p in model.parameters.items()
    }

    def bend(example: torch.Tensor, seed: torch.Tensor) -> Tensors:
        def seeded_output(parameters: Tensors) -> torch.Tensor:
            return (seed * model(parameters, example.unsqueeze(0))[0]).sum()

        return {"bend": _curvature_along(direction, seeded_output, model.parameters)}

    gap = engine.map(bend, inputs, gradient.vectors[:, 0])["bend"].abs().max()
    # Annotated by torch as if it could have an auxiliary output.
    tangents: Any = torch.func.jvp(
        lambda parameters: model(parameters, inputs), (model.parameters,), (direction,)
    )
    slope = tangents[1].double().unsqueeze(1)
    projections = (curvature.vectors.double() * slope).flatten(2).sum(2)
    scale = (curvature.weights * projections.square()).sum(1).abs().max()
    return bool(gap <= 100 * torch.finfo(tangents[1].dtype).eps * scale)


def second_derivatives(
    engine: PerExampleEngine,
    model: FunctionalModel,
    loss: Loss,
    inputs: torch.Tensor,
    targets: torch.Tensor,
) -> Tensors:
    """The diagonal of one tensor's Hessian, a Hessian-vector product for each of its weights.

    ``model`` has that tensor as its only parameter. Exact whatever the model; memory is bounded
    by differentiating along a few weights at a time.
    """
    ((name, parameter),) = model.parameters.items()

    def of_one(axis: torch.Tensor, example: torch.Tensor, target: torch.Tensor) -> Tensors:
        def loss_of_one(parameters: Tensors) -> torch.Tensor:
            output = model(parameters, example.unsqueeze(0))
            return loss.per_example(output, target.unsqueeze(0))[0]

        return {name: _curvature_along({name: axis}, loss_of_one, model.parameters)}

    def along(axis: torch.Tensor) -> Tensors:
        return engine.map(partial(of_one, axis), inputs, targets)

    size = parameter.numel()
    at_once = max(1, _VALUES_AT_ONCE // (size * len(inputs)))
    columns = []
    for start in range(0, size, at_once):
        indices = torch.arange(start, min(start + at_once, size), device=parameter.device)
        axes = functional.one_hot(indices, size).to(parameter.dtype)
        columns.append(engine.map(along, axes.reshape(-1, *parameter.shape))[name])
    return {name: torch.cat(columns).T.reshape(len(inputs), *parameter.shape)}


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
