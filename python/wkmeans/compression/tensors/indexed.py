"""`IndexedTensor`: a tensor as codebooks and codes, whatever compressed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wkmeans._clustering import Clustering

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class IndexedTensor:
    """Weights as ``codebooks[groups, codes] * scale``.

    Attributes
    ----------
    codes : unsigned integer array, shape of the weights
        Which entry of its codebook each weight takes.
    codebooks : float array (n, k)
    groups : integer array, broadcastable to the weights' shape, or None
        Which codebook each weight takes it from. None where there is one.
    scale : float array, broadcastable to the weights' shape, or None
    """

    codes: npt.NDArray[np.unsignedinteger[Any]]
    codebooks: Floats
    groups: npt.NDArray[np.integer[Any]] | None = None
    scale: Floats | None = None

    def __post_init__(self) -> None:
        if self.codes.dtype.kind != "u":
            raise TypeError(f"codes: expected unsigned integers, got {self.codes.dtype}")
        if self.codebooks.ndim != 2 or self.codebooks.size == 0:
            raise ValueError(
                f"codebooks: expected shape (n, k), none of them 0, got {self.codebooks.shape}"
            )
        n, k = self.codebooks.shape
        if self.codes.size and self.codes.max() >= k:
            raise ValueError(f"codes: expected less than k = {k}, got {self.codes.max()}")
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
        codes = labels.view(np.uint32) if labels.dtype == np.int32 else labels
        codebooks = _as_float(clustering.centroids)
        if clustering.scale is not None:
            codebooks = codebooks * np.expand_dims(np.asarray(clustering.scale), -1)
        axis = clustering.axis
        if axis is None:
            return cls(codes, codebooks.reshape(1, -1))
        batch_shape = (*codes.shape[:axis], 1, *codes.shape[axis + 1 :])
        groups = np.arange(np.prod(batch_shape, dtype=np.int64)).reshape(batch_shape)
        return cls(codes, codebooks.reshape(groups.size, -1), groups)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def k(self) -> int:
        return int(self.codebooks.shape[1])

    def offsets(self) -> npt.NDArray[np.int64] | None:
        """Where each weight's codebook begins among all entries, broadcastable to its shape."""
        return None if self.groups is None else self.groups.astype(np.int64) * self.k

    def dense(self) -> Floats:
        """The weights, in the dtype of the codebooks."""
        values: Floats = self.codebooks[0 if self.groups is None else self.groups, self.codes]
        if self.scale is not None:
            values = values * self.scale.astype(values.dtype)
        return values


def _as_float(centroids: Any) -> Floats:
    """Centroids of any storage format as a float32 or float64 array."""
    if not isinstance(centroids, np.ndarray):
        centroids = (centroids.double() if centroids.itemsize == 8 else centroids.float()).numpy()
    values: Floats = centroids
    return values if values.dtype == np.float64 else values.astype(np.float32)
