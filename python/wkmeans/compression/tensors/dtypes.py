"""Arrays of every dtype that a file holds, from NumPy and from torch and back."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array, is_torch_tensor
from wkmeans._kernels.dtypes import EXTENSION, NATIVE, dtype_name, numpy_dtype
from wkmeans._kernels.plain import check_on_cpu, check_plain_array, check_plain_tensor, memory_of

PACKED = ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")
"""Narrower than a byte: handled as the packed bytes that a file holds."""
STORABLE = (*NATIVE, *EXTENSION, *PACKED)
"""What a safetensors file holds."""


def array_of(data: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """The array whose bytes are `data`, aligned; of a dtype in `PACKED`, the bytes themselves."""
    if dtype in PACKED:
        return data
    array = data.view(numpy_dtype(dtype))
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def as_numpy(name: str, value: Any) -> Array:
    """The memory of a tensor or array, as NumPy sees it; no copy on the CPU."""
    if not is_torch_tensor(value):
        check_plain_array(name, value)
        array = np.asarray(value)
        if array.dtype.name not in STORABLE:
            raise TypeError(f"{name}: expected a numeric array, got dtype {array.dtype}")
        return array
    torch = sys.modules["torch"]
    check_plain_tensor(name, value)
    check_on_cpu(name, value, "move the model with .cpu() first")
    plain = value.detach().resolve_neg().resolve_conj()
    dtype = dtype_name(plain.dtype)
    if dtype in EXTENSION:
        width = torch.int16 if plain.element_size() == 2 else torch.uint8
        bits: Array = memory_of(name, plain.contiguous().view(width))
        return bits.view(numpy_dtype(dtype))
    memory: Array = memory_of(name, plain)
    if memory.dtype.name not in STORABLE:
        raise TypeError(f"{name}: expected a numeric tensor, got {value.dtype}")
    return memory


def as_torch(array: Array, *, is_fresh: bool = False) -> Any:
    """The same values as a torch tensor that owns its memory; that of a fresh array is its own."""
    torch = _torch()
    owned = array if is_fresh and _is_plain(array) else np.array(array, order="C")
    name = owned.dtype.name
    if name not in EXTENSION:
        return torch.from_numpy(owned)
    bits = owned.view(np.int16 if owned.dtype.itemsize == 2 else np.uint8)
    return torch.from_numpy(bits).view(getattr(torch, name))


def _is_plain(array: Array) -> bool:
    return array.flags.c_contiguous and array.flags.writeable


def packed_as_torch(name: str, data: Array, dtype: str, shape: tuple[int, ...]) -> Any:
    """Packed bytes as a torch tensor; torch has a dtype for pairs of four bits alone."""
    torch = _torch()
    if dtype != "float4_e2m1fn" or not shape or shape[-1] % 2 or not hasattr(torch, _PAIRS):
        raise TypeError(f"{name}: torch has no dtype for {dtype} {list(shape)}")
    pairs = torch.from_numpy(data.copy()).view(getattr(torch, _PAIRS))
    return pairs.reshape(*shape[:-1], shape[-1] // 2)


_PAIRS = "float4_e2m1fn_x2"


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "this model came from torch: pip install 'wkmeans[torch]', or pass framework='numpy'"
        ) from error
    return torch
