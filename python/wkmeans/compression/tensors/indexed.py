"""`IndexedTensor`: a tensor as codebooks and labels, whatever compressed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wkmeans._clustered import Clustering
from wkmeans._kernels.formats import as_float64
from wkmeans._quantized import Quantized

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class IndexedTensor(Quantized):
    """Weights as ``codebook[groups, labels] * scale``.

    Attributes
    ----------
    labels : unsigned integer array, shape of the weights
        Which centroid of its codebook each weight takes.
    codebook : float array (n, k)
    groups : integer array, broadcastable to the weights' shape, or None
        Which codebook each weight takes it from. None where there is one.
    scale : float array, broadcastable to the weights' shape, or None
    """

    labels: npt.NDArray[np.unsignedinteger[Any]]
    codebook: Floats
    groups: npt.NDArray[np.integer[Any]] | None = None
    scale: Floats | None = None

    def __post_init__(self) -> None:
        if self.labels.dtype.kind != "u":
            raise TypeError(f"labels: expected unsigned integers, got {self.labels.dtype}")
        if self.codebook.ndim != 2 or self.codebook.size == 0:
            raise ValueError(
                f"codebook: expected shape (n, k), none of them 0, got {self.codebook.shape}"
            )
        n, k = self.codebook.shape
        if self.labels.size and self.labels.max() >= k:
            raise ValueError(f"labels: expected less than k = {k}, got {self.labels.max()}")
        if self.groups is None and n > 1:
            raise ValueError(
                f"groups: expected an index for each weight of {n} codebooks, got none"
            )
        if self.groups is not None:
            self._check_broadcasts("groups", self.groups)
            if self.groups.size and not (self.groups.min() >= 0 and self.groups.max() < n):
                raise ValueError(
                    f"groups: expected 0 to {n - 1}, got {self.groups.min()} to {self.groups.max()}"
                )
        if self.scale is not None:
            self._check_broadcasts("scale", self.scale)

    def _check_broadcasts(self, name: str, array: npt.NDArray[Any]) -> None:
        try:
            np.broadcast_to(array, self.shape)
        except ValueError:
            raise ValueError(
                f"{name}: expected a shape that broadcasts to the weights' {self.shape}, "
                f"got {array.shape}"
            ) from None

    @classmethod
    def of_clustering(cls, clustering: Clustering) -> IndexedTensor:
        """What `wkmeans.wkmeans` found, with an int8 codebook's scale multiplied in."""
        labels = np.asarray(clustering.labels)
        labels = labels.view(np.uint32) if labels.dtype == np.int32 else labels
        codebook: Floats = as_float64(clustering.centroid_values())
        if clustering.codebook_dtype != "float64":
            codebook = codebook.astype(np.float32)
        axis = clustering.axis
        if axis is None:
            return cls(labels, codebook.reshape(1, -1))
        batch_shape = (*labels.shape[:axis], 1, *labels.shape[axis + 1 :])
        groups = np.arange(np.prod(batch_shape, dtype=np.int64)).reshape(batch_shape)
        return cls(labels, codebook.reshape(groups.size, -1), groups)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights."""
        return self.labels.shape

    def offsets(self) -> npt.NDArray[np.int64] | None:
        """Where each weight's codebook begins among all centroids, broadcastable to its shape."""
        return None if self.groups is None else self.groups.astype(np.int64) * self.k

    def centroid_values(self) -> Floats:
        return self.codebook

    def dequantize(self) -> Floats:
        """The weights, in the dtype of the codebook."""
        values: Floats = self.codebook[0 if self.groups is None else self.groups, self.labels]
        if self.scale is not None:
            values = values * self.scale.astype(values.dtype)
        return values

    def _stored(self) -> Floats:
        return self.codebook

    def _described(self) -> dict[str, Any]:
        return {"shape": self.shape}
