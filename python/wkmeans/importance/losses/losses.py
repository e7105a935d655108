"""Losses, as what the engine back-propagates: seeds at the model's output.

A loss knows three sets of seeds: its gradient (one seed for each loss), a factorisation of its
Hessian at the output (Gauss-Newton), and one of the distance between output distributions (Fisher,
Eqs. 5 and 6). The latter two are exact, or random probes whose mean they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from wkmeans.importance.first.seeds import Seeds

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Exact seeds of one example, each a backward pass, are no more than these.
MOST_SEEDS = 1024
# Beyond, so many probes stand for them, or fewer where they took more values than these for one
# example; two at least, which tell how uncertain they are.
_DEFAULT_PROBES = 16
_PROBE_VALUES = 2**25


@dataclass(frozen=True)
class Probes:
    """How many random probes, and where their signs come from; exact where ``count`` is None."""

    count: int | None = None
    generator: torch.Generator | None = None

    def signs(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Independent, -1 or 1 with equal probability (Rademacher), float64."""
        bits = torch.randint(0, 2, shape, generator=self.generator)
        return (2 * bits - 1).to(like.device, torch.float64)

    def require_few(self, n_seeds: int) -> None:
        """Raise ``ValueError`` where exact seeds would be too many to wait for."""
        if n_seeds > MOST_SEEDS:
            raise ValueError(
                f"the exact Fisher or curvature of this output needs {n_seeds} backward passes "
                f"(more than {MOST_SEEDS}); pass probes=16, say, for an unbiased estimate from 16"
            )


@dataclass(frozen=True)
class Loss:
    """A loss given as a function ``(output, target) -> per-example losses``."""

    function: LossFunction
    temperature: float = 1.0

    # Whether `curvature_seeds` can be random.
    has_probes = False
    # The target of what does not count; ``None`` where only the function knows.
    ignored: ClassVar[float | None] = None

    @property
    def name(self) -> str:
        """The function's qualified name."""
        module = getattr(self.function, "__module__", "")
        return f"{module}.{getattr(self.function, '__qualname__', repr(self.function))}"

    def untempered(self) -> Loss:
        """The same at temperature 1."""
        return replace(self, temperature=1.0)

    def per_example(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses of shape ``(examples,)``; the temperature divides the outputs."""
        losses = self.function(outputs / self.temperature, targets)
        if not isinstance(losses, torch.Tensor) or losses.shape != outputs.shape[:1]:
            came = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses)
            raise ValueError(
                f"loss: expected one value for each example, shape {tuple(outputs.shape[:1])}, "
                f"got {came} (a mean or a sum over the batch hides what each example says: "
                'use reduction="none")'
            )
        return losses

    def check(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Raise ``ValueError`` where outputs and targets do not fit this loss."""
        self.per_example(outputs, targets)

    def fits(self, outputs: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether targets have the kind and the shape that go with the outputs."""
        return True

    def no_targets(self, outputs: torch.Tensor) -> torch.Tensor:
        """Targets that mark nothing, for what looks at the marks alone."""
        return torch.zeros_like(outputs)

    def n_factors(self, outputs: torch.Tensor) -> int:
        """How many seeds give the curvature of one example's output exactly."""
        return outputs[0].numel()

    def probes_for(self, outputs: torch.Tensor, probes: Probes, n_seeds: int) -> Probes:
        """``probes``, or some in place of ``n_seeds`` exact seeds where these are too many."""
        if probes.count is not None or n_seeds <= MOST_SEEDS or not self.has_probes:
            return probes
        fitting = _PROBE_VALUES // max(1, outputs[0].numel())
        return replace(probes, count=max(2, min(_DEFAULT_PROBES, fitting)))

    def count(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> int:
        """How many losses there are to take the mean over: examples here, or tokens."""
        return len(outputs)

    def n_losses(self, outputs: torch.Tensor) -> int:
        """How many losses one example has: more than one where each token is one."""
        return 1

    def one(self, position: int) -> LossFunction:
        """The losses at ``position`` of every example, ``(output, target) -> (examples,)``."""
        return self.per_example

    def rough_curvature_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> Seeds:
        """A few probes of the curvature where there are such, else all of it: for its size."""
        return self.curvature_seeds(outputs, targets, Probes())

    def gradient_seeds(self, outputs: torch.Tensor, targets: torch.Tensor, probes: Probes) -> Seeds:
        """The gradient of each example's loss at its output."""
        gradient = torch.func.grad(lambda z: self.per_example(z, targets).sum())(outputs)
        return Seeds(gradient.unsqueeze(1))

    def curvature_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor, probes: Probes
    ) -> Seeds:
        """Seeds with ``sum_s weight_s seed_s seed_s'`` the loss's Hessian at each output."""
        n, size = len(outputs), outputs[0].numel()
        if probes.count is not None:
            raise ValueError(
                'loss: expected "cross_entropy" or "mse" with probes (their curvature has a known '
                "square root), got a function"
            )
        probes.require_few(size)

        def loss_of_one(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return self.per_example(output.unsqueeze(0), target.unsqueeze(0))[0]

        hessians = torch.func.vmap(torch.func.hessian(loss_of_one))(outputs, targets)
        weights, vectors = torch.linalg.eigh(hessians.reshape(n, size, size).double())
        return Seeds(vectors.mT.reshape(n, size, *outputs.shape[1:]), weights)

    def fisher_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor | None, probes: Probes
    ) -> Seeds:
        """Undefined: a function does not say which distribution or distance its output is for."""
        raise ValueError(
            'loss: expected "cross_entropy" (a classifier, Eq. 6) or "mse" (a regressor, Eq. 5) '
            'for objective "fisher", got a function'
        )


class SquaredError(Loss):
    """Squared error, averaged over one example's outputs; a NaN as target does not count."""

    name = "mse"
    has_probes = True
    ignored = math.nan

    def __init__(self) -> None:
        super().__init__(_squared_error)

    def untempered(self) -> Loss:
        """It has no other."""
        return self

    def check(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Require targets of the outputs' shape: broadcasting would pair examples wrongly."""
        if not self.fits(outputs, targets):
            raise ValueError(
                f'targets: expected the outputs\' shape {tuple(outputs.shape)} for loss "mse", '
                f"got shape {tuple(targets.shape)}"
            )

    def fits(self, outputs: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether the shapes are the same."""
        return targets.shape == outputs.shape

    def curvature_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor, probes: Probes
    ) -> Seeds:
        """The Hessian of the mean of ``size`` squares is ``2 / size`` times the identity."""
        size = torch.full((len(outputs),), float(outputs[0].numel()), dtype=torch.float64)
        if bool(targets.isnan().any()):
            size = (~targets.isnan()).flatten(1).sum(1).clamp(min=1).double()
        return self._identity(outputs, targets, probes, 2 / size.to(outputs.device))

    def fisher_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor | None, probes: Probes
    ) -> Seeds:
        """The basis vectors: Eq. 5 is ``||df / dw||^2``."""
        one = torch.ones(len(outputs), dtype=torch.float64, device=outputs.device)
        return self._identity(outputs, targets, probes, one)

    def rough_curvature_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> Seeds:
        """Four probes."""
        return self.curvature_seeds(outputs, targets, Probes(4, generator))

    def _identity(
        self, outputs: torch.Tensor, targets: torch.Tensor | None, probes: Probes,
        scales: torch.Tensor,
    ) -> Seeds:  # fmt: skip
        """A square root of the identity times each example's scale, zero where nothing counts."""
        n, size, shape = len(outputs), outputs[0].numel(), outputs.shape[1:]
        roots = scales.sqrt().reshape(n, *[1] * outputs.ndim)
        hidden = targets is not None and bool(targets.isnan().any())
        if hidden and targets is not None:
            roots = roots * (~targets.isnan()).unsqueeze(1)
        if probes.count is not None:
            signs = probes.signs((n, probes.count, *shape), outputs)
            return Seeds(signs * roots / math.sqrt(probes.count), are_probes=True)
        identity = torch.eye(size, dtype=torch.float64, device=outputs.device)
        identity = identity.reshape(size, *shape)
        # Where nothing is hidden the scales are the same: only one example's seeds are held.
        return Seeds(identity * roots if hidden else (identity * roots[0]).expand(n, size, *shape))


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    counted = ~targets.isnan()
    squares = torch.where(counted, outputs - targets, 0.0).square().flatten(1)
    return squares.sum(1) / counted.flatten(1).sum(1).clamp(min=1)
