"""The engine for any model: one example as a pure function, mapped over examples by torch.func."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import FunctionalModel, Tensors, plain_kernels

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PerExampleEngine:
    """Squares of back-propagated seeds, example by example.

    ``vectorized`` maps over examples with ``vmap``; otherwise they are taken one at a time, which
    is slower and asks nothing of the model (recurrent layers write in place, which ``vmap``
    refuses).
    """

    vectorized: bool

    def weighted_squares(
        self,
        model: FunctionalModel,
        inputs: Inputs,
        vectors: torch.Tensor,
        weights: torch.Tensor,
    ) -> Tensors:
        """``sum_s weight_s (J' seed_s)^2`` for each example, ``(examples, *parameter)``, float64.

        ``vectors`` is ``(examples, seeds, *output)``. Costs one backward pass for each seed and
        example, and memory for these examples times parameters.
        """

        def of_one(vectors: torch.Tensor, weights: torch.Tensor, *example: torch.Tensor) -> Tensors:
            linearised: Any = torch.func.vjp(  # annotated as if it always had an auxiliary output
                lambda parameters: model(parameters, _alone(inputs, example)), model.parameters
            )
            output, pull_back = linearised
            totals: Tensors = {}
            for vector, weight in zip(vectors.to(output.dtype), weights.double(), strict=True):
                (gradients,) = pull_back(vector.unsqueeze(0))
                for name, gradient in gradients.items():
                    # Squared in double: float32 would lose what is below 1e-19.
                    square = gradient.double().square_().mul_(weight)
                    totals[name] = totals[name].add_(square) if name in totals else square
            return totals

        if self.vectorized:
            return self.map(of_one, vectors, weights, *inputs.tensors)
        rows = zip(vectors, weights, *inputs.tensors, strict=True)
        each = [_squares_of_one(model, inputs, *row) for row in rows]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def map(self, function: Callable[..., Tensors], *batched: torch.Tensor) -> Tensors:
        """``function`` of each row of ``batched``, stacked."""
        if self.vectorized:
            mapped: Tensors = torch.func.vmap(function)(*batched)
            return mapped
        each = [function(*example) for example in zip(*batched, strict=True)]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def _squares_of_one(
    model: FunctionalModel, inputs: Inputs, vectors: torch.Tensor, weights: torch.Tensor,
    *example: torch.Tensor,
) -> Tensors:  # fmt: skip
    """The same by plain autograd, which takes what torch.func refuses: packed sequences, say."""
    leaves = model.leaves()
    with torch.enable_grad():
        output = model(leaves, _alone(inputs, example))
    totals = {n: torch.zeros_like(p, dtype=torch.float64) for n, p in model.parameters.items()}
    if not output.requires_grad:
        return totals
    for vector, weight in zip(vectors.to(output.dtype), weights.double(), strict=True):
        gradients = torch.autograd.grad(
            output, list(leaves.values()), vector.unsqueeze(0),
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
        for total, gradient in zip(totals.values(), gradients, strict=True):
            if gradient is not None:
                total.add_(gradient.double().square_().mul_(weight))
    return totals


def _alone(inputs: Inputs, example: tuple[torch.Tensor, ...]) -> Inputs:
    """A batch of the one example."""
    return inputs.holding(tuple(tensor.unsqueeze(0) for tensor in example))


def engine_for(model: FunctionalModel, inputs: Inputs) -> PerExampleEngine:
    """The vectorised engine where the first example goes through it, else the other."""
    first = inputs[:1]
    with torch.no_grad():
        seeds = model(model.parameters, first).unsqueeze(1)
    try:
        vectorized = PerExampleEngine(vectorized=True)
        with plain_kernels():  # as second derivatives will need
            vectorized.weighted_squares(model, first, seeds, torch.ones(1, 1))
    except RuntimeError as error:
        _log.info("one example at a time: torch.func.vmap refuses the model (%s)", error)
        return PerExampleEngine(vectorized=False)
    return vectorized
