"""Which kernels a caller's arrays go to: those of the memory that they are in."""

from __future__ import annotations

from typing import Any, Protocol

from wkmeans._kernels import arrays, cpu_backend
from wkmeans._kernels.arrays import Array, ArrayLike, Operand
from wkmeans._kernels.cpu_backend import Outcome


class BackendProblem(Protocol):
    """Weights with their importances, and how they split into problems."""

    @property
    def axis(self) -> int | None: ...
    @property
    def batch_shape(self) -> tuple[int, ...]: ...
    @property
    def n_items(self) -> int: ...
    @property
    def weights_dtype(self) -> str: ...


class Backend(Protocol):
    """What `cpu_backend` and `cuda_backend` both are."""

    def make_problem(
        self,
        weights: ArrayLike,
        importance: ArrayLike | None,
        quartic_importance: ArrayLike | None,
        axis: int | None,
        entry: str = "",
    ) -> Any: ...
    def init_operand(self, init: ArrayLike) -> Operand: ...
    def cluster(self, problem: Any, k: int, *, centroid_format: str, **options: Any) -> Outcome: ...
    def label_nearest(self, problem: Any, centroids: Array, n_threads: int) -> Any: ...
    def cost_curve(self, problem: Any, k_max: int, **options: Any) -> Any: ...
    def prune(self, problem: Any, keep: int, n_threads: int) -> Any: ...
    def prune_together(self, problems: list[Any], keep: int, n_threads: int) -> list[Any]: ...
    def prune_pattern(self, problem: Any, keep: int, group: int, n_threads: int) -> Any: ...


def backend_of(*weights: ArrayLike) -> Backend:
    """CUDA's where any of the weights is a CUDA tensor."""
    if any(arrays.is_on_cuda(w) for w in weights):
        from wkmeans._kernels import cuda_backend

        return cuda_backend
    return cpu_backend
