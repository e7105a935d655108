"""The two kinds of tensor in a compressed model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans._quantized import Quantized, described
from wkmeans.compression.format.coding import EncodedCodes, encode
from wkmeans.compression.tensors.dtypes import PACKED
from wkmeans.compression.tensors.layout import Granularity, Layout, layout_of


@dataclass(frozen=True, eq=False, repr=False)
class CompressedTensor(Quantized):
    """Labels into codebooks, entropy-coded in memory as they are in the file.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        What `dequantize` gives: "float16", "bfloat16", "float32" or "float64".
    granularity : {"tensor", "channel"} or int
        One codebook for all, for each entry of the first axis, or for so many weights of one.
    encoded : EncodedCodes
        The labels; `labels` decodes them.
    codebook : array (n_codebooks, k)
        Each ascending, in the dtype it is stored in. An "int8" codebook is to be multiplied by
        `codebook_scale`.
    codebook_scale : float32 array (n_codebooks,) or None
    channel_scale : float32 array (n_channels,) or None
        Centroids are to be multiplied by the scale of their channel.
    cost : float
        ``sum I (w - v)^2 + H (w - v)^4`` of the values v that `dequantize` gives.
    """

    shape: tuple[int, ...]
    dtype: str
    granularity: Granularity
    encoded: EncodedCodes
    codebook: Array
    codebook_scale: Array | None = None
    channel_scale: Array | None = None
    cost: float = 0.0

    @property
    def layout(self) -> Layout:
        """How the weights are cut into pieces that share a codebook."""
        return layout_of(self.shape, self.granularity)

    @property
    def size(self) -> int:
        """How many weights there are."""
        return self.encoded.size

    @property
    def labels(self) -> Array:
        """uint8 or uint16 labels, shape of the tensor, decoded anew each time: O(n)."""
        return self.encoded.decode().reshape(self.shape)

    @property
    def counts(self) -> Array:
        """How many weights carry each label, int64 (k,)."""
        return self.encoded.counts()

    @property
    def nbytes(self) -> int:
        """Bytes of labels, codebooks and scales in the file."""
        extra = (self.codebook_scale, self.channel_scale)
        return int(
            self.encoded.payload.nbytes
            + self.codebook.nbytes
            + sum(scale.nbytes for scale in extra if scale is not None)
        )

    def centroid_values(self) -> Array:
        """The codebooks as the numbers they stand for, ``(n_codebooks, k)``, channel scales aside.

        float64 for float64 tensors, else float32.
        """
        wide = np.float64 if self.dtype == "float64" else np.float32
        values: Array = self.codebook.astype(wide)
        if self.codebook_scale is not None:
            values = values * self.codebook_scale.astype(wide)[:, np.newaxis]
        return values

    def dequantize(self) -> Array:
        """The dense tensor, as NumPy: ``centroid[label] * channel_scale`` in `dtype`."""
        centroids, dtype = self.centroid_values(), numpy_dtype(self.dtype)
        if self.channel_scale is None:
            centroids = centroids.astype(dtype)
        values = self.layout.expand(self.encoded.decode(), centroids)
        if self.channel_scale is not None:
            values = values * self.channel_scale.astype(values.dtype)[:, np.newaxis]
        return values.astype(dtype, copy=False).reshape(self.shape)

    def _stored(self) -> Array:
        return self.codebook

    def _described(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "dtype": self.dtype,
            "granularity": self.granularity,
            "nbytes": self.nbytes,
            "cost": self.cost,
        }


@dataclass(frozen=True, eq=False, repr=False)
class DenseTensor:
    """A tensor that is kept as it is.

    Attributes
    ----------
    values : array
        In the dtype it is stored in; of a dtype narrower than a byte, its packed bytes.
    dtype : str
        What `dequantize` gives: the dtype the model had.
    reason : str
        Why it is not compressed.
    packed_shape : tuple of int, optional
        Of the values, where `values` holds them packed.
    """

    values: Array
    dtype: str
    reason: str
    packed_shape: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor in the model."""
        return self.values.shape if self.packed_shape is None else self.packed_shape

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values in the file."""
        return int(self.values.nbytes)

    @property
    def stored_dtype(self) -> str:
        """What the file holds the values in."""
        return self.dtype if self.dtype in PACKED else self.values.dtype.name

    def dequantize(self) -> Array:
        """The tensor in the model's dtype; `TypeError` where NumPy has none."""
        return self.values.astype(numpy_dtype(self.dtype))

    def with_values(self, values: Array) -> DenseTensor:
        """Other values of the same shape, stored in the same way; as they are if that overflows."""
        with np.errstate(over="ignore"):
            cast = values.astype(self.values.dtype)
        if self.stored_dtype != self.dtype and overflows(values, cast):
            return DenseTensor(values.astype(numpy_dtype(self.dtype)), self.dtype, self._outgrown)
        return replace(self, values=cast)

    @property
    def _outgrown(self) -> str:
        """The reason for other values, which are not stored in the same way."""
        return f"{self.reason}; tuned beyond that, so as it is"

    def __repr__(self) -> str:
        facts = {"shape": self.shape, "dtype": self.dtype, "reason": self.reason}
        return described("DenseTensor", facts)


def overflows(values: Array, cast: Array) -> bool:
    """Whether finite values are none in another dtype."""
    return bool(np.isfinite(values).all() and not np.isfinite(cast.astype(np.float64)).all())


def compressed_tensor(
    labels: Array,
    codebook: Array,
    *,
    dtype: str,
    granularity: Granularity,
    coding: str = "auto",
    codebook_scale: Array | None = None,
    channel_scale: Array | None = None,
    cost: float = 0.0,
) -> CompressedTensor:
    """Encode `labels`, of the tensor's shape, and drop centroids above all of them."""
    layout = layout_of(labels.shape, granularity)
    k = int(labels.max(initial=0)) + 1
    encoded = encode(labels.reshape(layout.n_channels, layout.channel_size), k, coding)
    return CompressedTensor(
        tuple(labels.shape),
        dtype,
        granularity,
        encoded,
        np.ascontiguousarray(codebook[:, :k]),
        codebook_scale,
        channel_scale,
        cost,
    )
