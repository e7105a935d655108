"""A compressed network that runs with numbers on the move, and the gradients of these."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

import torch
from torch import nn

from wkmeans.compression._model import CompressedModel
from wkmeans.compression.calibration.divergence import gradient_at, taken_apart
from wkmeans.compression.calibration.numbers import Centroids, Numbers, Vector
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import Forward
from wkmeans.importance.model.lease import lend


class MovableNetwork:
    """What a model became, with every codebook movable, and those parameters in `vectors`.

    Attributes
    ----------
    centroids, vectors : dict of Numbers
        By name.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str,
        forward: Forward | None,
        compressed: CompressedModel,
        vectors: Collection[str],
    ) -> None:
        self._functional, known = lend(model, lambda: taken_apart(model, forward))
        original = self._functional.parameters
        self._loss = loss
        self._stored_as = {name: compressed.aliases.get(name, name) for name in compressed}
        parameters = {name: compressed[name] for name in compressed if name in original}
        self.centroids = {
            name: Centroids(tensor)
            for name, tensor in parameters.items()
            if isinstance(tensor, CompressedTensor)
        }
        self.vectors = {
            name: Vector(tensor)
            for name, tensor in parameters.items()
            if isinstance(tensor, DenseTensor) and tensor.size and name in vectors
        }
        self._movable: dict[str, Numbers] = {**self.centroids, **self.vectors}
        self._fixed = {
            name: tensor
            for name, tensor in compressed.state_dict("torch").items()
            if name in known and name not in self._movable
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the network runs with as it is now, dense."""
        return self._fixed | {name: one.dense() for name, one in self._movable.items()}

    def derive(self, examples: Iterable[Inputs]) -> None:
        """Add to `moved.grad` of all numbers the gradient of the examples' divergence."""
        for inputs in examples:
            lend(self._functional.module, partial(self._derive, inputs))

    def stored(self) -> dict[str, CompressedTensor | DenseTensor]:
        return {self._stored_as[name]: one.stored() for name, one in self._movable.items()}

    def _derive(self, inputs: Inputs) -> None:
        original = self._functional.parameters
        with torch.no_grad():
            wanted = self._functional(original, inputs)
        leaves = {name: one.dense().requires_grad_() for name, one in self._movable.items()}
        for name, leaf in leaves.items():
            hook = self._movable[name].take_gradient
            leaf.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
        with torch.enable_grad():
            outputs = self._functional(original | self._fixed | leaves, inputs)
        if outputs.requires_grad:
            torch.autograd.backward(outputs, gradient_at(self._loss, wanted, outputs, inputs))
