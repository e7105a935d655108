"""Look-up tables as Core ML's converter expects them in a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wkmeans.compression.tensors.exportable import Tensor as Exportable
from wkmeans.compression.tensors.exportable import indexed
from wkmeans.compression.tensors.indexed import IndexedTensor

_METADATA_VERSION = 1
_PALETTIZATION = 2  # coremltools' CompressionType
_LABEL_BITS = (1, 2, 3, 4, 6, 8)


def to_coreml_buffers(tensors: Mapping[str, Exportable]) -> dict[str, Tensor]:
    """Buffers that let coremltools (8 and later) convert dense weights to their look-up tables.

    Register each on the module its name says (``module.register_buffer``) of a model that holds the
    dense weights, and convert; coremltools then stores labels and tables instead of the weights.

    Parameters
    ----------
    tensors : CompressedModel, or mapping of names to IndexedTensor or Clustering
        At most 256 centroids a codebook, which is Core ML's limit. Several codebooks, which iOS 18
        introduced, are repeated so that each serves equal blocks along the tensor's axes.

    Returns
    -------
    dict of torch.Tensor
        ``<module>._COREML_/<parameter>/lut``, of shape (blocks along each axis, 2^bits, 1); its
        ``compression_type`` and, where there are scales, ``palettization_scale``; and
        ``_COREML_/metadata_version``.

    Raises
    ------
    ValueError
        For more than 256 centroids.
    """
    buffers = {"_COREML_/metadata_version": torch.tensor(_METADATA_VERSION)}
    for name, tensor in indexed(tensors).items():
        module, _, parameter = name.rpartition(".")
        prefix = f"{module}._COREML_/{parameter}" if module else f"_COREML_/{parameter}"
        buffers[f"{prefix}/lut"] = torch.from_numpy(_table(name, tensor))
        buffers[f"{prefix}/compression_type"] = torch.tensor([_PALETTIZATION])
        if tensor.scale is not None:
            rank = len(tensor.shape)
            scale = tensor.scale.reshape((1,) * (rank - tensor.scale.ndim) + tensor.scale.shape)
            buffers[f"{prefix}/palettization_scale"] = torch.from_numpy(
                np.ascontiguousarray(scale, np.float32)
            )
    return buffers


def _table(name: str, tensor: IndexedTensor) -> npt.NDArray[np.float32]:
    if tensor.k > 256:
        raise ValueError(f"tensors[{name!r}]: Core ML takes up to 256 centroids, got {tensor.k}")
    codebooks = tensor.codebook.astype(np.float32)
    # A full table: coremltools would fill it up with zeros, and knows no labels of other widths.
    size = next(1 << bits for bits in _LABEL_BITS if tensor.k <= 1 << bits)
    codebooks = np.pad(codebooks, ((0, 0), (0, size - tensor.k)), mode="edge")
    blocks = _codebook_of_each_block(tensor)
    table: npt.NDArray[np.float32] = codebooks[blocks][..., np.newaxis]
    return table


def _codebook_of_each_block(tensor: IndexedTensor) -> npt.NDArray[np.integer[Any]]:
    """The weights cut into equal blocks along each axis, as few as hold one codebook each."""
    groups = np.zeros((), np.intp) if tensor.groups is None else tensor.groups
    blocks = np.broadcast_to(groups, tensor.shape)
    for axis in range(blocks.ndim):
        blocks = _without_repeats(blocks, axis)
    return blocks


def _without_repeats(
    groups: npt.NDArray[np.integer[Any]], axis: int
) -> npt.NDArray[np.integer[Any]]:
    """Every b-th position along `axis`, for the largest b that divides it and loses nothing."""
    changes = np.any(np.diff(groups, axis=axis) != 0, axis=tuple(set(range(groups.ndim)) - {axis}))
    block = np.gcd.reduce([*(np.flatnonzero(changes) + 1), groups.shape[axis]])
    return groups.take(np.arange(0, groups.shape[axis], max(1, int(block))), axis)
