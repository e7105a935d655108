"""Between the tensors of a compressed model and `IndexedTensor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from wkmeans._clustered import Clustering
from wkmeans._kernels.arrays import Array
from wkmeans.compression.lattice.tensor import LatticeTensor
from wkmeans.compression.tensors.indexed import IndexedTensor
from wkmeans.compression.tensors.layout import Layout
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor, compressed_tensor

Tensor: TypeAlias = IndexedTensor | CompressedTensor | DenseTensor | Clustering


def indexed(tensors: Mapping[str, Tensor]) -> dict[str, IndexedTensor]:
    """The tensors that have codebooks; what is dense needs no export.

    A tensor under several names, as a tied one is, is one tensor here too.
    """
    made: dict[int, IndexedTensor] = {}
    result: dict[str, IndexedTensor] = {}
    for name in tensors:
        tensor = tensors[name]
        if isinstance(tensor, DenseTensor):
            continue
        if id(tensor) not in made:
            made[id(tensor)] = _indexed(name, tensor)
        result[name] = made[id(tensor)]
    return result


def _indexed(name: str, tensor: Any) -> IndexedTensor:
    if isinstance(tensor, IndexedTensor):
        return tensor
    if isinstance(tensor, Clustering):
        return IndexedTensor.of_clustering(tensor)
    if isinstance(tensor, LatticeTensor):
        return IndexedTensor(tensor.labels, tensor.centroid_values(), scale=tensor.scale)
    if isinstance(tensor, CompressedTensor):
        scale = tensor.channel_scale
        return IndexedTensor(
            labels=tensor.labels,
            codebook=tensor.centroid_values(),
            groups=_groups(tensor.layout, tensor.shape),
            scale=None if scale is None else scale.reshape(_one_a_channel(tensor.shape)),
        )
    raise TypeError(
        f"tensors[{name!r}]: expected a compressed tensor, a Clustering or an IndexedTensor, "
        f"got {type(tensor).__name__}"
    )


def _one_a_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What broadcasts a number for each channel to a tensor of `shape`."""
    return (-1, *(1 for _ in shape[1:])) if len(shape) > 1 else tuple(1 for _ in shape)


def _groups(layout: Layout, shape: tuple[int, ...]) -> Array | None:
    if layout.n_codebooks <= 1:
        return None
    first = np.arange(layout.n_channels, dtype=np.int32) * layout.groups_per_channel
    if layout.groups_per_channel == 1:
        return first.reshape(_one_a_channel(shape))
    within = np.arange(layout.channel_size, dtype=np.int32) // layout.group
    return (first[:, np.newaxis] + within).reshape(shape)


def recompressed(tensor: CompressedTensor, tuned: IndexedTensor) -> CompressedTensor:
    """`tensor` with the centroids of `tuned`, rounded to the dtype its codebooks are stored in.

    Codebooks ascend again, so that labels are numbered anew where fine-tuning changed the order.
    Its cost stays what compression cost: fine-tuning leaves those weights on purpose.
    """
    order = np.argsort(tuned.codebook, axis=1, kind="stable")
    codebooks = np.take_along_axis(tuned.codebook, order, axis=1)
    renumbered = np.argsort(order, axis=1).astype(tuned.labels.dtype)
    labels = renumbered[0 if tuned.groups is None else tuned.groups, tuned.labels]
    stored, scale = _stored(codebooks, tensor)
    if isinstance(tensor, LatticeTensor):
        return tensor.tuned(labels, stored)
    return compressed_tensor(
        labels,
        stored,
        dtype=tensor.dtype,
        granularity=tensor.granularity,
        coding=tensor.encoded.coding,
        codebook_scale=scale,
        channel_scale=tensor.channel_scale,
        cost=tensor.cost,
    )


def _stored(codebooks: Array, like: CompressedTensor) -> tuple[Array, Array | None]:
    if like.codebook_scale is None:
        return codebooks.astype(like.codebook.dtype), None
    widest = np.abs(codebooks).max(axis=1)
    scale = np.where(widest > 0, widest / 127, 1).astype(np.float32)
    return np.rint(codebooks / scale[:, np.newaxis]).astype(like.codebook.dtype), scale
