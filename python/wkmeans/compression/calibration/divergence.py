"""How far a network's outputs move when other tensors are put in place of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from wkmeans._wrappers import plainly_named
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import (
    Forward,
    FunctionalModel,
    require_independent_examples,
)
from wkmeans.importance.model.lease import lend

LOSSES = ("cross_entropy", "mse")
_CHUNK = 1 << 22  # outputs whose divergence is taken at one time, in float64


class Judge:
    """The divergence of a network from the original over given examples.

    For ``"cross_entropy"`` the mean over examples of ``KL(original || other)`` of the softmax, a
    mean over positions where outputs have any, but for those that an ``attention_mask`` of their
    shape hides; for ``"mse"`` the squared difference of all outputs over their squared sum.
    """

    def __init__(
        self, model: nn.Module, inputs: Sequence[Inputs], loss: str, forward: Forward | None = None
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(
                f"loss: expected one of {', '.join(map(repr, LOSSES))} with calibration, "
                f"got {loss!r}"
            )
        require_independent_examples(model)
        self._model, self._known = lend(model, lambda: taken_apart(model, forward))
        self._inputs = list(inputs)
        self._loss = loss
        self._original = [self._outputs({}, one) for one in self._inputs]
        for position, outputs in enumerate(self._original):
            if not bool(outputs.isfinite().all()):
                raise ValueError(
                    f"model: an output for held-out examples of calibration batch {position} is "
                    "not finite"
                )

    @property
    def outputs_of_an_example(self) -> int:
        """Of all positions."""
        return max((one[0].numel() for one in self._original if len(one)), default=0)

    def divergence(self, tensors: Mapping[str, torch.Tensor]) -> float:
        """Of the model with `tensors`, by name, in place of its own; infinity if not finite."""
        replaced = {
            name: tensor.to(self._known[name].device)
            for name, tensor in tensors.items()
            if name in self._known
        }
        difference = weight = 0.0
        for inputs, original in zip(self._inputs, self._original, strict=True):
            more = self._sums(original, self._outputs(replaced, inputs), _mask_of(inputs))
            difference, weight = difference + more[0], weight + more[1]
        value = difference / weight if weight else difference
        return value if value == value else float("inf")

    @torch.no_grad()
    def _outputs(self, tensors: Mapping[str, torch.Tensor], inputs: Inputs) -> torch.Tensor:
        everything = self._model.parameters | dict(tensors)
        return lend(self._model.module, lambda: self._model(everything, inputs)).detach()

    def _sums(
        self, original: torch.Tensor, other: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[float, float]:
        """What the outputs add above and below the line."""
        found = [
            _terms(self._loss, original[part], other[part], None if mask is None else mask[part])
            for part in _parts(original)
        ]
        return sum(float(above) for above, _ in found), sum(below for _, below in found)


def gradient_at(
    loss: str, original: torch.Tensor, other: torch.Tensor, inputs: Inputs
) -> torch.Tensor:
    """The gradient of `other`, outputs for `inputs`, of their divergence from the original's.

    Of the numerator alone for ``"mse"``, so that gradients of several batches add up.
    """
    leaf, mask = other.detach().requires_grad_(), _mask_of(inputs)
    for part in _parts(original):
        hidden = None if mask is None else mask[part]
        torch.autograd.backward(_terms(loss, original[part], leaf[part], hidden)[0])
    assert leaf.grad is not None
    return leaf.grad


def _parts(outputs: torch.Tensor) -> Iterator[slice]:
    """Of examples, whose outputs fit into memory in double precision."""
    step = max(1, _CHUNK // max(outputs[0].numel(), 1))
    return (slice(start, start + step) for start in range(0, len(outputs), step))


def _terms(
    loss: str, original: torch.Tensor, other: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """What examples add above and below the line."""
    first, second = original.double(), other.double()
    if loss == "mse":
        return (first - second).square().sum(), float(first.square().sum())
    return kl_divergence(first, second, mask).sum(), float(len(first))


def taken_apart(
    model: nn.Module, forward: Forward | None
) -> tuple[FunctionalModel, dict[str, torch.Tensor]]:
    """The model as a function, and all its tensors by the names that they have without wrappers."""
    functional = FunctionalModel.of(model, lambda _, p: p.is_floating_point(), forward)
    held = dict(model.named_parameters()) | dict(model.named_buffers())
    return functional, plainly_named(model, held)


def kl_divergence(
    original: torch.Tensor, other: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """``KL(original || other)`` of each example's logits, the mean over its positions."""
    p, q = original.log_softmax(-1), other.log_softmax(-1)
    each = (p.exp() * (p - q)).sum(-1).clamp(min=0)
    if each.ndim < 2:
        return each
    if mask is not None and mask.shape == each.shape:
        counted = (mask != 0).to(each.dtype)
        return (each * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
    return each.flatten(1).mean(1)


def _mask_of(inputs: Inputs) -> torch.Tensor | None:
    value = inputs.value()
    mask = value.get("attention_mask") if isinstance(value, Mapping) else None
    return mask if isinstance(mask, torch.Tensor) else None
