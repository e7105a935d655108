"""`LatticeTensor`: integers times a scale of their row and one of their column."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.coding import look_up_scaled
from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans.compression.lattice.coding import EncodedIntegers, encode_integers
from wkmeans.compression.lattice.scales import IntArray, scale_of
from wkmeans.compression.tensors.layout import layout_of
from wkmeans.compression.tensors.tensor import CompressedTensor


@dataclass(frozen=True, eq=False, repr=False)
class LatticeTensor(CompressedTensor):
    """A tensor whose weights are ``centroid[label] * 2^((row + column) / 16)``.

    Rows are a layer's outputs, columns what each of them multiplies. The codebook is successive
    integers, until fine-tuning moves them.

    Attributes
    ----------
    encoded : EncodedIntegers
        Labels, and the exponents of rows and columns.
    transposed : bool
        The tensor holds columns first.
    """

    encoded: EncodedIntegers = field(kw_only=True)  # type: ignore[assignment]  # same interface
    transposed: bool = False

    @property
    def labels(self) -> Array:
        """Labels, shape of the tensor, decoded anew each time."""
        return self._arranged(self.encoded.decode())

    @property
    def scale(self) -> Array:
        """What multiplies the centroid of each weight, float64, shape of the tensor."""
        rows, columns = self.encoded.row_exponents, self.encoded.column_exponents
        return self._arranged(scale_of(rows[:, np.newaxis] + columns))

    @property
    def nbytes(self) -> int:
        """Bytes of labels, scales and, where they are no integers, centroids."""
        centroids = 0 if self.has_integers else self.codebook.nbytes
        return int(self.encoded.payload.nbytes + self.encoded.scale_bytes + centroids)

    @property
    def has_integers(self) -> bool:
        """Whether centroids are as compression left them."""
        return bool((self.codebook[0] == integers_of(self.encoded)).all())

    def dequantize(self) -> Array:
        """The dense tensor, as NumPy; products are in double, rounded once to `dtype`."""
        rows, columns = self.encoded.row_exponents, self.encoded.column_exponents
        values = look_up_scaled(
            self.encoded.decode(),
            self.codebook[0],
            scale_of(rows),
            scale_of(columns),
            "float32" if self.dtype == "float32" else "float64",
        )
        return self._arranged(values.astype(numpy_dtype(self.dtype), copy=False))

    def tuned(self, labels: Array, codebook: Array) -> LatticeTensor:
        """The same tensor with other centroids, ascending, and labels that name them."""
        rows = labels.T if self.transposed else labels.reshape(self.encoded.rows, -1)
        encoded = self.encoded
        if not np.array_equal(rows, encoded.decode()):  # other integers follow no trellis
            encoded = encode_integers(
                rows.astype(np.int64) + encoded.low,
                encoded.row_exponents,
                encoded.column_exponents,
            )
        return lattice_tensor(
            encoded,
            self.shape,
            self.dtype,
            transposed=self.transposed,
            cost=self.cost,
            codebook=codebook[:, encoded.low - self.encoded.low :][:, : encoded.k],
        )

    def _arranged(self, rows: Array) -> Array:
        return np.ascontiguousarray(rows.T if self.transposed else rows).reshape(self.shape)


def integers_of(encoded: EncodedIntegers) -> Array:
    """What labels stand for before any fine-tuning."""
    return np.arange(encoded.low, encoded.low + encoded.k, dtype=np.float32)


def lattice_tensor(
    encoded: EncodedIntegers,
    shape: tuple[int, ...],
    dtype: str,
    *,
    transposed: bool = False,
    cost: float = 0.0,
    codebook: Array | None = None,
) -> LatticeTensor:
    """A tensor of `shape` whose codebook is integers unless another is given."""
    centroids = integers_of(encoded)[np.newaxis] if codebook is None else codebook
    return LatticeTensor(
        shape,
        dtype,
        "tensor",
        codebook=np.ascontiguousarray(centroids, np.float32),
        cost=cost,
        encoded=encoded,
        transposed=transposed,
    )


def exponents_fit(shape: tuple[int, ...], rows: IntArray, columns: IntArray) -> bool:
    """Whether so many rows and columns make a tensor of `shape`."""
    layout = layout_of(shape, "tensor")
    return len(rows) * len(columns) == layout.n_channels * layout.channel_size
