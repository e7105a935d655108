"""Losses, as what the engine back-propagates: seeds at the model's output.

Every objective is a sum over seeds of ``weight * (J' seed)^2``, with ``J`` the Jacobian of one
example's output ``z`` with respect to a parameter. A loss knows three sets of seeds: its gradient
(one seed), a factorisation of its Hessian at the output (Gauss-Newton), and one of the distance
between output distributions (Fisher, Eqs. 5 and 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Seeds(NamedTuple):
    """``vectors`` of shape ``(examples, seeds, *output)`` and ``weights`` ``(examples, seeds)``."""

    vectors: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Loss:
    """A loss given as a function ``(output, target) -> per-example losses``."""

    function: LossFunction
    temperature: float = 1.0

    @property
    def name(self) -> str:
        """The function's qualified name."""
        module = getattr(self.function, "__module__", "")
        return f"{module}.{getattr(self.function, '__qualname__', repr(self.function))}"

    def per_example(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses of shape ``(examples,)``; the temperature divides the outputs."""
        losses = self.function(outputs / self.temperature, targets)
        if not isinstance(losses, torch.Tensor) or losses.shape != outputs.shape[:1]:
            came = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses)
            raise ValueError(
                f"loss must give one value for each example, shape {tuple(outputs.shape[:1])}; "
                f"got {came} (a mean or a sum over the batch hides what each example says: "
                'use reduction="none")'
            )
        return losses

    def check(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Raise ``ValueError`` where outputs and targets do not fit this loss."""
        self.per_example(outputs, targets)

    def gradient_seeds(self, outputs: torch.Tensor, targets: torch.Tensor) -> Seeds:
        """The gradient of each example's loss at its output."""
        gradient = torch.func.grad(lambda z: self.per_example(z, targets).sum())(outputs)
        return Seeds(gradient.unsqueeze(1), outputs.new_ones(len(outputs), 1))

    def curvature_seeds(self, outputs: torch.Tensor, targets: torch.Tensor) -> Seeds:
        """Seeds with ``sum_s weight_s seed_s seed_s'`` the loss's Hessian at each output."""

        def loss_of_one(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return self.per_example(output.unsqueeze(0), target.unsqueeze(0))[0]

        n, size = len(outputs), outputs[0].numel()
        hessians = torch.func.vmap(torch.func.hessian(loss_of_one))(outputs, targets)
        weights, vectors = torch.linalg.eigh(hessians.reshape(n, size, size).double())
        return Seeds(vectors.mT.reshape(n, size, *outputs.shape[1:]), weights)

    def fisher_seeds(self, outputs: torch.Tensor) -> Seeds:
        """Undefined: a function does not say which distribution or distance its output is for."""
        raise ValueError(
            'objective "fisher" needs loss="cross_entropy" (a classifier, Eq. 6) or loss="mse" '
            "(a regressor, Eq. 5); got a function"
        )


class CrossEntropy(Loss):
    """Softmax cross-entropy on logits ``(examples, classes)`` with class indices as targets."""

    name = "cross_entropy"

    def __init__(self, temperature: float) -> None:
        super().__init__(_cross_entropy, temperature)

    def check(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Require logits, and targets that name one of their classes."""
        self._check_logits(outputs)
        if targets.shape != outputs.shape[:1] or targets.is_floating_point():
            raise ValueError(
                f'loss "cross_entropy" expects targets of class indices, shape '
                f"{tuple(outputs.shape[:1])}; got {targets.dtype} of shape {tuple(targets.shape)} "
                "(for other targets give a function)"
            )
        outside = ((targets < 0) | (targets >= outputs.shape[1])).nonzero()
        if len(outside):
            first = int(outside[0])
            raise ValueError(
                f"targets must be class indices in [0, {outputs.shape[1]}); got "
                f"{int(targets[first])} at index {first}"
            )

    def gradient_seeds(self, outputs: torch.Tensor, targets: torch.Tensor) -> Seeds:
        """In double: a confident float32 softmax rounds ``1 - p`` to zero."""
        return super().gradient_seeds(outputs.double(), targets)

    def curvature_seeds(self, outputs: torch.Tensor, targets: torch.Tensor) -> Seeds:
        """The same as Fisher's: the Hessian ``(diag p - p p') / T^2`` does not see the label."""
        return self.fisher_seeds(outputs)

    def fisher_seeds(self, outputs: torch.Tensor) -> Seeds:
        """One seed for each class: Eq. 6 as ``sum_c f_c (d log f_c / dw)^2``.

        That is ``(df_c / dw)^2 / f_c`` without the division, so a class whose probability
        underflows contributes zero instead of a NaN.
        """
        self._check_logits(outputs)
        probabilities = (outputs.double() / self.temperature).softmax(dim=1)
        identity = torch.eye(outputs.shape[1], dtype=torch.float64, device=outputs.device)
        scores = (identity - probabilities.unsqueeze(1)) / self.temperature
        return Seeds(scores, probabilities)

    def _check_logits(self, outputs: torch.Tensor) -> None:
        if outputs.ndim != 2:
            raise ValueError(
                f'loss "cross_entropy" expects outputs of shape (examples, classes); got '
                f"{tuple(outputs.shape)}"
            )


class SquaredError(Loss):
    """Squared error, averaged over one example's outputs."""

    name = "mse"

    def __init__(self) -> None:
        super().__init__(_squared_error)

    def check(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Require targets of the outputs' shape: broadcasting would pair examples wrongly."""
        if targets.shape != outputs.shape:
            raise ValueError(
                f'loss "mse" expects targets of the outputs\' shape {tuple(outputs.shape)}; got '
                f"{tuple(targets.shape)}"
            )

    def curvature_seeds(self, outputs: torch.Tensor, targets: torch.Tensor) -> Seeds:
        """The Hessian of the mean of ``size`` squares is ``2 / size`` times the identity."""
        basis, ones = self.fisher_seeds(outputs)
        return Seeds(basis, ones * (2 / outputs[0].numel()))

    def fisher_seeds(self, outputs: torch.Tensor) -> Seeds:
        """The basis vectors: Eq. 5 is ``||df / dw||^2``."""
        n, size = len(outputs), outputs[0].numel()
        identity = torch.eye(size, dtype=outputs.dtype, device=outputs.device)
        basis = identity.reshape(size, *outputs.shape[1:]).expand(n, size, *outputs.shape[1:])
        return Seeds(basis, outputs.new_ones(n, size))


def resolve_loss(loss: str | LossFunction, temperature: float) -> Loss:
    """The ``Loss`` of ``estimate``'s arguments."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    if callable(loss):
        return Loss(loss, temperature)
    if loss == "cross_entropy":
        return CrossEntropy(temperature)
    if loss == "mse":
        if temperature != 1:
            raise ValueError(
                f'temperature divides logits, and loss "mse" has none: it must be 1; got '
                f"{temperature}"
            )
        return SquaredError()
    raise ValueError(
        f'loss must be "cross_entropy", "mse" or a function (output, target) -> per-example '
        f"losses; got {loss!r}"
    )


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, targets.long(), reduction="none")


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().flatten(1).mean(1)
