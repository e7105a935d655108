"""NumPy arrays and torch tensors as the kernels see them: memory, dtype name, strides.

torch is never imported here: a tensor can only come from a process that has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import wkmeans._core as _core
from wkmeans._kernels.checks import (
    bad_value_message,
    check_not_empty,
    first_index_where,
    normalised_axis,
    shape_error,
)
from wkmeans._kernels.dtypes import FLOAT_DTYPES, dtype_error, dtype_name, label_dtype
from wkmeans._kernels.plain import check_on_cpu, check_plain_array, check_plain_tensor, memory_of

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
ArrayLike = Any
"""A NumPy array, a torch tensor, or anything `numpy.asarray` makes a float array of."""


@dataclass(frozen=True)
class Operand:
    """A caller's array: a NumPy view of its memory and the dtype that memory holds."""

    memory: Array
    dtype: str
    is_torch: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.memory.shape

    def values(self) -> npt.NDArray[np.float64]:
        """A copy as float64, which holds every dtype exactly."""
        if self.dtype == "bfloat16":
            return (self.memory.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return self.memory.astype(np.float64)

    def to_caller(self, array: Array) -> Any:
        """`array`, as a tensor where the caller gave one."""
        return sys.modules["torch"].from_numpy(array) if self.is_torch else array


def is_torch_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_on_cuda(value: object) -> bool:
    return is_torch_tensor(value) and value.device.type == "cuda"  # type: ignore[attr-defined]


def as_operand(name: str, value: ArrayLike, dtypes: Sequence[str] = FLOAT_DTYPES) -> Operand:
    """`value` without a copy where it is a float array or a CPU tensor; a list as float64."""
    if is_torch_tensor(value):
        return _tensor_operand(name, value, dtypes)
    check_plain_array(name, value)
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        return _array_operand(name, np.asarray(value), dtypes)
    return Operand(_from_python(name, value), "float64", is_torch=False)


def _from_python(name: str, value: object) -> Array:
    """Numbers and nested lists of them."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected numbers of one shape, {error}") from None
    if array.size and (array.dtype.kind not in "iufb" or array.dtype.itemsize > 8):
        raise dtype_error(name, f"{type(value).__name__} of {array.dtype}")
    return array.astype(np.float64)


def _array_operand(name: str, array: Array, dtypes: Sequence[str]) -> Operand:
    dtype = dtype_name(array.dtype)
    if dtype not in dtypes:
        raise dtype_error(name, str(array.dtype), dtypes)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # bfloat16 reaches NumPy as an extension dtype; the kernels read its bits.
    memory = array.view(np.uint16) if dtype == "bfloat16" else array
    return Operand(memory, dtype, is_torch=False)


def _tensor_operand(name: str, tensor: torch.Tensor, dtypes: Sequence[str]) -> Operand:
    torch = sys.modules["torch"]
    check_plain_tensor(name, tensor)
    dtype = dtype_name(tensor.dtype)
    if dtype not in dtypes:
        raise dtype_error(name, str(tensor.dtype), dtypes)
    check_on_cpu(name, tensor, "pass .cpu() to copy it yourself")
    plain = tensor.detach().resolve_neg()
    if dtype == "bfloat16":  # which NumPy does not know: the kernels read its bits
        memory = memory_of(name, plain.view(torch.int16)).view(np.uint16)
    else:
        memory = memory_of(name, plain)
    return Operand(memory, dtype, is_torch=True)


@dataclass(frozen=True)
class Problem:
    """Weights, their importances, and how they split into problems."""

    kernel_view: _core.Problems
    weights: Operand
    axis: int | None
    operands: dict[str, Operand]  # as given, by the name errors use

    @property
    def batch_shape(self) -> tuple[int, ...]:
        if self.axis is None:
            return ()
        return self.weights.shape[: self.axis] + self.weights.shape[self.axis + 1 :]

    @property
    def n_items(self) -> int:
        return self.kernel_view.n_items

    @property
    def weights_dtype(self) -> str:
        return self.weights.dtype

    def label_dtype(self, k: int) -> str:
        """Of the kernels' labels, which are unsigned."""
        return label_dtype(k, as_torch=self.weights.is_torch).replace("int32", "uint32")

    def arrange(self, per_item: Array) -> Any:
        """Kernel output `(problems, items)` in the shape and kind of the weights."""
        if per_item.dtype == np.uint32:
            per_item = per_item.view(np.int32)  # torch's index dtypes are signed
        if self.axis is None:
            return self.weights.to_caller(per_item.reshape(self.weights.shape))
        rows = per_item.reshape(*self.batch_shape, -1)
        return self.weights.to_caller(np.ascontiguousarray(np.moveaxis(rows, -1, self.axis)))


def make_problem(
    weights: ArrayLike,
    importance: ArrayLike | None,
    quartic_importance: ArrayLike | None,
    axis: int | None,
    entry: str = "",
) -> Problem:
    """Checks shapes, dtypes and axis; values are checked by the kernel as it reads them."""
    weights_name = f"weights{entry}"
    weights_operand = as_operand(weights_name, weights)
    shape = weights_operand.shape
    check_not_empty(weights_name, shape)
    operands = {weights_name: weights_operand}

    def broadcast(argument: str, value: ArrayLike | None) -> tuple[Array, str] | None:
        if value is None:
            return None
        name = f"{argument}{entry}"
        operand = operands[name] = as_operand(name, value)
        return _broadcast(name, operand, shape), operand.dtype

    position = normalised_axis(axis, len(shape))
    kernel_view = _core.Problems(
        weights=(weights_operand.memory, weights_operand.dtype),
        importance=broadcast("importance", importance),
        quartic_importance=broadcast("quartic_importance", quartic_importance),
        axis=position,
        entry=entry,
    )
    return Problem(kernel_view, weights_operand, position, operands)


def _broadcast(name: str, operand: Operand, shape: tuple[int, ...]) -> Array:
    try:
        return np.broadcast_to(operand.memory, shape)
    except ValueError:
        raise shape_error(name, shape, operand.shape) from None


@contextmanager
def explained_values(*problems: Problem) -> Iterator[None]:
    """Turns the kernel's report of a bad value into the sentence a caller can act on.

    About the first one, whichever the kernel's threads met.
    """
    try:
        yield
    except _core.InvalidValue as error:
        for problem in problems:
            check_values(problem.operands)
        raise ValueError(bad_value_message(error.args[0], None, None)) from None


def check_values(operands: Mapping[str, Operand]) -> None:
    """Refuses the first that weights or importances, as their names say, may not have."""
    for name, operand in operands.items():
        values = operand.values()
        bad = ~np.isfinite(values)
        if not name.startswith("weights"):
            bad |= values < 0
        index = first_index_where(bad)
        if index is not None:
            raise ValueError(bad_value_message(name, index, float(values[index]))) from None
