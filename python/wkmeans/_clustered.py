"""`Clustering`: what `wkmeans.wkmeans` answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import ArrayLike, as_operand
from wkmeans._kernels.backends import backend_of
from wkmeans._kernels.formats import as_float64
from wkmeans._kernels.threads import resolve_n_threads
from wkmeans._quantized import Quantized


@dataclass(frozen=True, eq=False, repr=False)
class Clustering(Quantized):
    """A codebook and the label of every weight. NumPy arrays, or torch tensors for torch weights.

    Attributes
    ----------
    centroids : array (..., k)
        Ascending; in `centroid_dtype`, or float32 for half and single precision weights and float64
        for double. `...` is the weights' shape without the clustered axis, empty for ``axis=None``.
    labels : array, shape of the weights
        The nearest centroid of each weight, the lower one in a tie; under an importance matrix,
        not always the nearest. uint8 for k up to 256, else uint16; torch: uint8, else int32.
    cost : float or float64 array (...)
        ``sum I (w - c)^2 + H (w - c)^4``, summed directly about `centroids`.
    lower_bound : float, float64 array (...) or None
        No clustering with k centroids costs less: the optimal solver's certificate. None for Lloyd,
        unless ``certify=True``.
    n_iter : int or int64 array (...)
        Rounds of Lloyd, or of refinement by the optimal solver, that were made.
    axis : int or None
        The axis that was clustered, counted from the front.
    scale : float32, float32 array (...) or None
        ``centroid_dtype="int8"``: centroids are to be multiplied by it. None for other formats.
    """

    centroids: Any
    labels: Any
    cost: Any
    lower_bound: Any
    n_iter: Any
    axis: int | None = None
    scale: Any = None

    @property
    def gap(self) -> Any:
        """How far above the optimum the cost can be at most, ``cost / lower_bound - 1``.

        float or float64 array (...), 0 where the cost is the bound and infinite where the bound is
        0 and the cost is not; None without a bound.
        """
        if self.lower_bound is None:
            return None
        if isinstance(self.cost, float):
            return float(_gap(np.float64(self.cost), np.float64(self.lower_bound)))
        if isinstance(self.cost, np.ndarray):
            return _gap(self.cost, self.lower_bound)
        return (self.cost / self.lower_bound - 1).where(self.cost != self.lower_bound, 0.0)

    def labels_for(self, new_weights: ArrayLike, *, n_threads: int | None = None) -> Any:
        """Labels of other weights: for each its nearest centroid, the lower one in a tie.

        Parameters
        ----------
        new_weights : array_like
            As for `wkmeans`. With an axis, of the shape of the weights that were clustered but
            along that axis, where there may be any number of them.
        n_threads : int, optional
            As for `wkmeans`.

        Returns
        -------
        array, shape of the new weights
            Of the dtype that `labels` has, a torch tensor for torch weights. O(n log k).

        Raises
        ------
        ValueError, TypeError
            As for `wkmeans`; also for weights of another shape than the codebooks are for.
        """
        backend = backend_of(new_weights)
        centroids = as_float64(self.centroid_values())
        with _naming_weights("new_weights"):
            self._check_fits(new_weights)
            problem = backend.make_problem(new_weights, None, None, self.axis)
            threads = resolve_n_threads(n_threads)
            return backend.label_nearest(problem, centroids.reshape(-1, self.k), threads)

    def _check_fits(self, new_weights: ArrayLike) -> None:
        if self.axis is None:
            return
        expected: list[Any] = list(self.centroids.shape[:-1])
        is_array = hasattr(new_weights, "shape")
        shape = tuple(new_weights.shape if is_array else as_operand("weights", new_weights).shape)
        if [*shape[: self.axis], *shape[self.axis + 1 :]] != expected or len(shape) <= self.axis:
            expected.insert(self.axis, "any")
            shown = ", ".join(map(str, expected))
            raise ValueError(f"weights: expected shape ({shown}), got {shape}")

    def centroid_values(self) -> Any:
        """`centroids` as the numbers they stand for: times `scale` where there is one."""
        if self.scale is None:
            return self.centroids
        if isinstance(self.centroids, np.ndarray):
            return self.centroids * np.expand_dims(self.scale, -1)
        return self.centroids * (self.scale if self.axis is None else self.scale.unsqueeze(-1))

    def dequantize(self) -> Any:
        """The weights' approximation ``centroids[labels]``, times `scale` where there is one.

        That product is rounded to float32, in which `scale` is; `cost` is that of the product.
        """
        if isinstance(self.centroids, np.ndarray):
            return self._dequantize_numpy(self.centroid_values())
        return self._dequantize_torch(self.centroid_values())

    def _dequantize_numpy(self, codebook: Any) -> Any:
        labels = self.labels.astype(np.int64)
        if self.axis is None:
            return codebook[labels]
        values = np.take_along_axis(codebook, np.moveaxis(labels, self.axis, -1), -1)
        return np.ascontiguousarray(np.moveaxis(values, -1, self.axis))

    def _dequantize_torch(self, codebook: Any) -> Any:
        dtype = codebook.dtype
        if dtype.itemsize == 1:  # torch cannot index its float8 tensors, but can index their bytes
            codebook = codebook.view(self.labels.new_empty(0).byte().dtype)
        labels = self.labels.long()
        if self.axis is None:
            return codebook[labels].view(dtype)
        values = codebook.gather(-1, labels.movedim(self.axis, -1))
        return values.movedim(-1, self.axis).contiguous().view(dtype)

    def _stored(self) -> Any:
        return self.centroids

    def _described(self) -> dict[str, Any]:
        gap = self.gap
        return {
            "shape": tuple(self.labels.shape),
            "axis": self.axis,
            "cost": self.cost if isinstance(self.cost, float) else float(self.cost.sum()),
            "gap": gap if gap is None or isinstance(gap, float) else float(gap.max()),
        }


def _gap(cost: Any, lower_bound: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(cost == lower_bound, 0.0, cost / lower_bound - 1)


@contextmanager
def _naming_weights(name: str) -> Iterator[None]:
    """Errors about `weights` name the argument that they came as."""
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error)
        if not message.startswith("weights"):
            raise
        raise type(error)(message.replace("weights", name, 1)) from None
