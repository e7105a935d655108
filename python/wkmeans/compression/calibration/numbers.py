"""The numbers that a compressed tensor is made of, and that can be moved while its labels stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import torch

from wkmeans._kernels.arrays import Array
from wkmeans.compression.tensors.exportable import indexed, recompressed
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

_AT_ONCE = 1 << 20
"""Weights whose gradients are summed in double precision at one time."""


class Numbers(ABC):
    """Some numbers of one tensor, and how far each has been moved.

    Not by `parametrize`, whose graph holds an index of four bytes for every weight until all
    gradients are there, and where numbers in half precision lose what a small step adds.

    Attributes
    ----------
    moved : float32 tensor, shape of the numbers
        In units of their root mean square, so that one rate serves small ones and large ones; what
        is all zeros stays.
    """

    _tensor: CompressedTensor | DenseTensor

    def __init__(self, tensor: CompressedTensor | DenseTensor, start: Array) -> None:
        self._tensor = tensor
        self._dtype: torch.dtype = getattr(torch, tensor.dtype)
        self._start = torch.from_numpy(start.astype(np.float64))
        self._unit = float(self._start.square().mean().sqrt())
        self.moved = torch.zeros(start.shape)

    @property
    def values(self) -> torch.Tensor:
        """What they are now, float64."""
        return self._start + self._unit * self.moved.double()

    def take_gradient(self, dense: torch.Tensor) -> None:
        """Add to `moved.grad` what the gradient of the dense tensor says, which is let go."""
        assert dense.grad is not None
        gradient = (self._unit * self._summed(dense.grad.to_dense())).float()
        self.moved.grad = gradient if self.moved.grad is None else self.moved.grad + gradient
        dense.grad = None

    @abstractmethod
    def dense(self) -> torch.Tensor:
        """The tensor that they make, which the network runs with."""

    @abstractmethod
    def _summed(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of each number, float64, from that of the dense tensor."""

    def stored(self) -> CompressedTensor | DenseTensor:
        """The tensor, in the precision that it was stored in."""
        return self._stored() if bool(self.moved.any()) else self._tensor

    @abstractmethod
    def _stored(self) -> CompressedTensor | DenseTensor: ...


class Vector(Numbers):
    """All of a tensor that stays dense."""

    _tensor: DenseTensor

    def __init__(self, tensor: DenseTensor) -> None:
        super().__init__(tensor, tensor.dequantize())

    def dense(self) -> torch.Tensor:
        return self.values.to(self._dtype)

    def _summed(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.double()

    def _stored(self) -> DenseTensor:
        stored = self._tensor.with_values(self.values.numpy())
        return replace(stored, reason=f"{stored.reason}; tuned")


class Centroids(Numbers):
    """A tensor's codebooks. Centroids at zero stay there, so that what is pruned does."""

    _tensor: CompressedTensor

    def __init__(self, tensor: CompressedTensor) -> None:
        self._indexed = indexed({"": tensor})[""]
        super().__init__(tensor, self._indexed.codebook)
        self._index = torch.from_numpy(_index(self._indexed.labels, self._indexed.offsets()))
        scale = self._indexed.scale
        self._scale = None if scale is None else torch.from_numpy(scale)

    def dense(self) -> torch.Tensor:
        index = self._index.int().flatten()
        weights = self.values.to(self._dtype).flatten().index_select(0, index)
        weights = weights.reshape(self._index.shape)
        return weights if self._scale is None else (weights * self._scale).to(self._dtype)

    def _summed(self, gradient: torch.Tensor) -> torch.Tensor:
        if self._scale is not None:
            gradient = gradient * self._scale
        sums = torch.zeros(self.moved.numel(), dtype=torch.float64)
        parts = (torch.split(tensor.flatten(), _AT_ONCE) for tensor in (self._index, gradient))
        for index, part in zip(*parts, strict=True):
            sums += torch.bincount(index, part.double(), len(sums))
        return sums.reshape(self.moved.shape).masked_fill_(self._start == 0, 0)

    def _stored(self) -> CompressedTensor:
        codebook = self.values.numpy().astype(self._indexed.codebook.dtype)
        return recompressed(self._tensor, replace(self._indexed, codebook=codebook))


def _index(labels: Array, offsets: Array | None) -> Array:
    """Of each weight's centroid among those of all codebooks."""
    if offsets is None:
        return np.ascontiguousarray(labels.astype(np.int32) if labels.itemsize > 1 else labels)
    return (labels + offsets).astype(np.int32)
