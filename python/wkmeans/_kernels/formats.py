"""The storage formats of centroids, and arrays of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array

FORMATS = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int8",
)


def resolve_format(centroid_dtype: Any, weights_dtype: str) -> str:
    """The name of a format given as one or as a NumPy or torch dtype; None follows the weights."""
    if centroid_dtype is None:
        return "float64" if weights_dtype == "float64" else "float32"
    name: str = centroid_dtype if isinstance(centroid_dtype, str) else _dtype_name(centroid_dtype)
    if name not in FORMATS:
        raise ValueError(
            f"centroid_dtype: expected one of {', '.join(FORMATS)}, got {centroid_dtype!r}"
        )
    return name


def _dtype_name(dtype: Any) -> str:
    if type(dtype).__module__ == "torch":
        return str(dtype).removeprefix("torch.")
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return repr(dtype)


def stored(values: Array, format_name: str, *, as_torch: bool) -> Any:
    """`values`, which the format holds exactly, in that format."""
    if as_torch:
        torch = sys.modules["torch"]
        return torch.from_numpy(values).to(getattr(torch, format_name))
    return values.astype(_numpy_dtype(format_name))


def _numpy_dtype(format_name: str) -> np.dtype[Any]:
    if format_name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return np.dtype(format_name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(
            f"centroid_dtype={format_name!r} with NumPy weights needs ml_dtypes "
            "(pip install ml_dtypes), or pass torch tensors"
        ) from error
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, format_name))
    return dtype
