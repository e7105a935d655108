"""What looks like an array and is none that kernels may read: refused, with what to do instead.

Reading the memory behind a mask, of a sparse, quantised or nested tensor, or of one without values
would answer a question that nobody asked.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wkmeans._kernels.dtypes import dtype_name

if TYPE_CHECKING:
    import torch


def check_plain_array(name: str, value: Any) -> None:
    """`TypeError` for masked and sparse arrays, and for mappings and pairs of arrays."""
    inside = value if isinstance(value, (list, tuple)) else ()
    if any(isinstance(each, np.ma.MaskedArray) for each in (value, *inside)):
        raise TypeError(
            f"{name}: expected an array without a mask, got a masked array; select with "
            ".compressed(), or fill with .filled(0) and give what is masked importance 0"
        )
    if isinstance(value, Mapping):
        raise TypeError(
            f"{name}: expected one array, got {type(value).__name__}, a mapping; pass one of its "
            "entries"
        )
    if any(each is None for each in inside):
        raise TypeError(
            f"{name}: expected one array, got {_shown_kinds(inside)}; of a pair pass the first as "
            "importance and the second as quartic_importance"
        )
    if not hasattr(value, "__array__") and hasattr(value, "toarray"):
        raise TypeError(
            f"{name}: expected a dense array, got {type(value).__name__}; call .toarray()"
        )


def _shown_kinds(values: Any) -> str:
    return f"({', '.join(type(each).__name__ for each in values)})"


def check_plain_tensor(name: str, tensor: torch.Tensor) -> None:
    """`TypeError` for tensors that are sparse, nested, quantised or without values."""
    torch = sys.modules["torch"]
    if tensor.is_nested:
        raise TypeError(f"{name}: expected a dense tensor, got a nested one; call .unbind()")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got {tensor.layout}; call .to_dense()")
    if tensor.is_quantized:
        raise TypeError(
            f"{name}: expected a plain tensor, got a quantised one of {dtype_name(tensor.dtype)}; "
            "call .dequantize()"
        )
    if tensor.device.type == "meta":
        raise TypeError(
            f"{name}: expected a tensor with values, got one on meta, which has none; load the "
            "model's weights first"
        )


def check_on_cpu(name: str, tensor: torch.Tensor, remedy: str) -> None:
    if tensor.device.type != "cpu":
        raise TypeError(
            f"{name}: expected a tensor on the CPU, got one on {tensor.device}; {remedy}"
        )


def memory_of(name: str, tensor: torch.Tensor) -> Any:
    """The memory of a plain tensor on the CPU, as NumPy sees it."""
    try:
        return tensor.numpy()
    except (RuntimeError, TypeError, NotImplementedError):
        raise TypeError(
            f"{name}: expected a tensor that holds its own values, got {type(tensor).__name__}"
        ) from None
