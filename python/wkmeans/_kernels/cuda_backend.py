"""Clustering and pruning of torch tensors on a CUDA device.

Data stay on the device and work is queued on the caller's current stream; addresses, strides and
the stream cross to `wkmeans._cuda`, which takes its memory from torch's allocator. Operands are
read in place wherever their strides make rows of one stride; others, an importance that broadcasts
over inner axes among them, are laid out anew on the device first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels import arrays
from wkmeans._kernels.arrays import ArrayLike, Operand, as_operand, is_torch_tensor
from wkmeans._kernels.checks import (
    bad_value_message,
    check_not_empty,
    normalised_axis,
    shape_error,
)
from wkmeans._kernels.cpu_backend import Outcome
from wkmeans._kernels.dtypes import FLOAT_DTYPES, dtype_error, dtype_name
from wkmeans._kernels.plain import check_plain_tensor
from wkmeans._kernels.scores import explained_scores

if TYPE_CHECKING:
    import torch

_OPERANDS = ("weights", "importance", "quartic_importance")


@dataclass(frozen=True)
class CudaProblem:
    """Tensors of one device, and how they split into problems."""

    tensors: dict[str, torch.Tensor]  # as given, by the name that kernels use
    rows: dict[str, torch.Tensor]  # the same as (problems, items)
    axis: int | None
    entry: str

    @property
    def weights(self) -> torch.Tensor:
        return self.tensors["weights"]

    @property
    def weights_dtype(self) -> str:
        return dtype_name(self.weights.dtype)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        shape = tuple(self.weights.shape)
        return () if self.axis is None else shape[: self.axis] + shape[self.axis + 1 :]

    @property
    def n_problems(self) -> int:
        return self.rows["weights"].shape[0]

    @property
    def n_items(self) -> int:
        return self.rows["weights"].shape[1]

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return self.weights.new_empty(shape, dtype=dtype)

    def per_item(self, dtype: torch.dtype) -> torch.Tensor:
        return self.empty((self.n_problems, self.n_items), dtype)

    def arrange(self, per_item: torch.Tensor) -> torch.Tensor:
        """Kernel output `(problems, items)` in the shape of the weights."""
        if self.axis is None:
            return per_item.reshape(self.weights.shape)
        return per_item.reshape(*self.batch_shape, -1).movedim(-1, self.axis).contiguous()

    def per_problem(self, values: torch.Tensor) -> Any:
        return values.item() if self.axis is None else values.reshape(self.batch_shape)

    def operands(self) -> dict[str, Operand]:
        """Copies on the host, by the name that errors use."""
        names = {f"{name}{self.entry}": tensor for name, tensor in self.tensors.items()}
        return {name: as_operand(name, tensor.cpu()) for name, tensor in names.items()}

    def batch(self) -> Any:
        operands = {
            name: _cuda().Operand(rows.data_ptr(), dtype_name(rows.dtype), *rows.stride())
            for name, rows in self.rows.items()
        }
        return _cuda().Batch(
            self.n_problems, self.n_items, *(operands.get(name) for name in _OPERANDS)
        )

    def queue(self) -> Any:
        """The caller's current stream, and memory that belongs to it."""
        uint8 = sys.modules["torch"].uint8

        def allocate(size: int) -> tuple[torch.Tensor, int]:
            owner = self.empty((size,), uint8)
            return owner, owner.data_ptr()

        stream = sys.modules["torch"].cuda.current_stream(self.weights.device)
        return _cuda().Queue(stream.cuda_stream, allocate)


def _cuda() -> ModuleType:
    try:
        import wkmeans._cuda as module
    except ImportError as error:
        raise ImportError(
            "weights: tensors on CUDA need the extension wkmeans._cuda, which this build lacks "
            f"({error}); build it where nvcc is, with "
            "`pip install . -C cmake.define.WKMEANS_CUDA=ON`, or pass .cpu() to copy them yourself"
        ) from None
    return module


def make_problem(
    weights: ArrayLike,
    importance: ArrayLike | None,
    quartic_importance: ArrayLike | None,
    axis: int | None,
    entry: str = "",
) -> CudaProblem:
    """Checks shapes, dtypes, devices and axis; values are checked by the kernel."""
    _cuda()
    if not arrays.is_on_cuda(weights):
        raise TypeError(
            f"weights{entry}: expected a CUDA tensor, as others are, got {_place(weights)}"
        )
    given = dict(zip(_OPERANDS, (weights, importance, quartic_importance), strict=True))
    tensors = {
        name: _checked_tensor(f"{name}{entry}", value, weights.device)
        for name, value in given.items()
        if value is not None
    }
    shape = tensors["weights"].shape
    check_not_empty(f"weights{entry}", tuple(shape))
    position = normalised_axis(axis, len(shape))
    rows = {
        name: _rows(f"{name}{entry}", tensor, shape, position) for name, tensor in tensors.items()
    }
    return CudaProblem(tensors, rows, position, entry)


def _place(value: ArrayLike) -> str:
    return f"one on {value.device}" if is_torch_tensor(value) else type(value).__name__


def _checked_tensor(name: str, value: Any, device: torch.device) -> torch.Tensor:
    if not is_torch_tensor(value) or value.device != device:
        raise TypeError(
            f"{name}: expected a tensor on {device}, as the weights are, got {_place(value)}"
        )
    check_plain_tensor(name, value)
    if dtype_name(value.dtype) not in FLOAT_DTYPES:
        raise dtype_error(name, str(value.dtype))
    plain: torch.Tensor = value.detach().resolve_neg()
    return plain


def _rows(name: str, tensor: torch.Tensor, shape: torch.Size, axis: int | None) -> torch.Tensor:
    try:
        whole = tensor.expand(shape)
    except RuntimeError:
        raise shape_error(name, tuple(shape), tuple(tensor.shape)) from None
    if axis is None:
        return whole.reshape(1, -1)
    return whole.movedim(axis, -1).reshape(-1, shape[axis])


@contextmanager
def _on_device_of(problems: list[CudaProblem]) -> Iterator[None]:
    """For kernels: makes the device current, and turns their report of a bad value into the
    sentence a caller can act on."""
    try:
        # torch's guard: going back to a device that was never used leaves it unused.
        with sys.modules["torch"].cuda.device(problems[0].weights.device):
            yield
    except _cuda().BadValue as error:
        operand, number = error.args
        raise _bad_value(problems[number], operand) from None


def _bad_value(problem: CudaProblem, operand: str) -> ValueError:
    tensor = problem.tensors[operand]
    bad = ~tensor.isfinite() if operand == "weights" else ~(tensor.isfinite() & (tensor >= 0))
    index = tuple(int(i) for i in bad.nonzero()[0]) if bad.any() else None
    value = None if index is None else float(tensor[index])
    return ValueError(bad_value_message(f"{operand}{problem.entry}", index, value))


def init_operand(init: ArrayLike) -> Operand:
    """Lloyd's given centroids: so few that the host checks and passes them."""
    return as_operand("init", init.detach().cpu() if arrays.is_on_cuda(init) else init)


# What importances are multiplied by where sums of costs overflow, so that they can be compared.
_SCALE = 2.0**-600


@dataclass(frozen=True)
class _Solutions:
    """Of each problem, on the device; all but labels float64."""

    centroids: torch.Tensor
    labels: torch.Tensor
    scales: torch.Tensor
    costs: torch.Tensor
    lower_bounds: torch.Tensor
    n_iters: torch.Tensor


def cluster(problem: CudaProblem, k: int, *, centroid_format: str, **options: Any) -> Outcome:
    torch = sys.modules["torch"]
    found = _solve(problem, k, centroid_format, options)
    overflowed = ~found.costs.isfinite()
    if overflowed.any():
        ones = torch.ones_like(found.costs)
        by = torch.where(overflowed, _SCALE * ones, ones)
        found = _solve(_with_importances_times(by, problem), k, centroid_format, options)
        found = replace(found, costs=found.costs / by, lower_bounds=found.lower_bounds / by)
    centroids, scale = found.centroids, None
    if centroid_format == "int8":
        centroids = torch.round(centroids / found.scales.unsqueeze(-1))
        scale = found.scales.float().reshape(problem.batch_shape)
    return Outcome(
        centroids.reshape(*problem.batch_shape, k).to(getattr(torch, centroid_format)),
        problem.arrange(found.labels),
        problem.per_problem(found.costs),
        problem.per_problem(found.lower_bounds),
        problem.per_problem(found.n_iters),
        scale,
    )


def _with_importances_times(by: torch.Tensor, problem: CudaProblem) -> CudaProblem:
    """The problems with importances multiplied by one number each, ``by`` (problems,)."""
    factors = by.unsqueeze(-1)
    rows = {"weights": problem.rows["weights"], "importance": factors.expand(-1, problem.n_items)}
    for name in ("importance", "quartic_importance"):
        if name in problem.rows:
            rows[name] = problem.rows[name].double() * factors
    return replace(problem, rows=rows)


def _solve(
    problem: CudaProblem, k: int, centroid_format: str, options: dict[str, Any]
) -> _Solutions:
    torch = sys.modules["torch"]
    wide = k > 256
    n = problem.n_problems
    scales, costs, lower_bounds = (problem.empty((n,), torch.float64) for _ in range(3))
    found = _Solutions(
        problem.empty((n, k), torch.float64),
        problem.per_item(torch.int32 if wide else torch.uint8),
        scales,
        costs,
        lower_bounds,
        problem.empty((n,), torch.int64),
    )
    results = _cuda().Results(
        found.centroids.data_ptr(),
        found.labels.data_ptr(),
        "uint32" if wide else "uint8",
        scales.data_ptr(),
        costs.data_ptr(),
        lower_bounds.data_ptr(),
        found.n_iters.data_ptr(),
    )
    with _on_device_of([problem]):
        _cuda().cluster(
            problem.queue(),
            problem.batch(),
            _cuda().ClusterOptions(k=k, centroid_format=centroid_format, **options),
            results,
        )
    return found


def label_nearest(
    problem: CudaProblem, centroids: npt.NDArray[np.float64], n_threads: int
) -> torch.Tensor:
    """Labels by `centroids`, ``(problems, k)``: a look-up of torch's by exact thresholds."""
    torch = sys.modules["torch"]
    rows = problem.rows["weights"]
    if not rows.isfinite().all():
        raise _bad_value(problem, "weights")
    thresholds = problem.empty((len(centroids), centroids.shape[1] - 1), torch.float64)
    thresholds.copy_(torch.from_numpy(_core.label_thresholds(centroids)))
    labels = torch.searchsorted(thresholds, rows.double().contiguous(), out_int32=True)
    return problem.arrange(labels.to(torch.uint8 if centroids.shape[1] <= 256 else torch.int32))


def cost_curve(problem: CudaProblem, k_max: int, **options: Any) -> torch.Tensor:
    costs = problem.empty((problem.n_problems, k_max), sys.modules["torch"].float64)
    with _on_device_of([problem]):
        _cuda().cost_curve(
            problem.queue(), problem.batch(), k_max=k_max, costs=costs.data_ptr(), **options
        )
    curves: torch.Tensor = costs.reshape(*problem.batch_shape, k_max)
    return curves


def _masked(
    problems: list[CudaProblem], prune_into: Callable[[list[int]], None]
) -> list[torch.Tensor]:
    masks = [problem.per_item(sys.modules["torch"].bool) for problem in problems]
    with _on_device_of(problems), explained_scores(p.operands() for p in problems):
        prune_into([mask.data_ptr() for mask in masks])
    return [problem.arrange(mask) for problem, mask in zip(problems, masks, strict=True)]


def prune(problem: CudaProblem, keep: int, n_threads: int) -> torch.Tensor:
    queue, batch = problem.queue(), problem.batch()
    return _masked([problem], lambda masks: _cuda().prune(queue, batch, keep, masks[0]))[0]


def prune_together(problems: list[CudaProblem], keep: int, n_threads: int) -> list[torch.Tensor]:
    devices = {problem.weights.device for problem in problems}
    if len(devices) > 1:
        raise TypeError(
            f"weights: expected tensors of one device, got {', '.join(sorted(map(str, devices)))}"
        )
    queue, batches = problems[0].queue(), [problem.batch() for problem in problems]
    return _masked(problems, lambda masks: _cuda().prune_together(queue, batches, keep, masks))


def prune_pattern(problem: CudaProblem, keep: int, group: int, n_threads: int) -> torch.Tensor:
    queue, batch = problem.queue(), problem.batch()
    return _masked(
        [problem], lambda masks: _cuda().prune_pattern(queue, batch, keep, group, masks[0])
    )[0]
