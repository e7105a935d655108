"""The engine for any model: one example as a pure function, mapped over examples by torch.func."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from wkmeans.importance._functional import FunctionalModel, Tensors
from wkmeans.importance._losses import Seeds

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
        self, model: FunctionalModel, inputs: torch.Tensor, seeds: Seeds
    ) -> Tensors:
        """``sum_s weight_s (J' seed_s)^2`` for each example, ``(examples, *parameter)``, float64.

        Costs one backward pass for each seed and example, and memory for one chunk's examples
        times parameters.
        """

        def of_one(example: torch.Tensor, vectors: torch.Tensor, weights: torch.Tensor) -> Tensors:
            linearised: Any = torch.func.vjp(  # annotated as if it always had an auxiliary output
                lambda parameters: model(parameters, example.unsqueeze(0)), model.parameters
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

        return self.map(of_one, inputs, seeds.vectors, seeds.weights)

    def map(self, function: Callable[..., Tensors], *batched: torch.Tensor) -> Tensors:
        """``function`` of each row of ``batched``, stacked."""
        if self.vectorized:
            mapped: Tensors = torch.func.vmap(function)(*batched)
            return mapped
        each = [function(*example) for example in zip(*batched, strict=True)]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def engine_for(model: FunctionalModel, inputs: torch.Tensor) -> PerExampleEngine:
    """The vectorised engine where the first example of ``inputs`` goes through it, else the other.

    Raises ``ValueError`` where the model is random: no per-example gradient is defined then.
    """
    first = inputs[:1]
    seeds = Seeds(model(model.parameters, first).unsqueeze(1), torch.ones(1, 1))
    try:
        vectorized = PerExampleEngine(vectorized=True)
        vectorized.weighted_squares(model, first, seeds)
    except RuntimeError as error:
        if "random" in str(error):
            raise ValueError(
                "model draws random numbers, so no per-example gradient is defined; call "
                f"model.eval() first (torch: {error})"
            ) from error
        _log.info("one example at a time: torch.func.vmap refuses the model (%s)", error)
        return PerExampleEngine(vectorized=False)
    return vectorized
