"""The storage formats of centroids, and arrays of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.dtypes import dtype_name, numpy_dtype

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
    name = dtype_name(centroid_dtype)
    if name not in FORMATS:
        raise ValueError(
            f"centroid_dtype: expected one of {', '.join(FORMATS)}, got {centroid_dtype!r}"
        )
    return name


def stored(values: Array, format_name: str, *, as_torch: bool) -> Any:
    """`values`, which the format holds exactly, in that format."""
    if as_torch:
        torch = sys.modules["torch"]
        return torch.from_numpy(values).to(getattr(torch, format_name))
    return values.astype(numpy_dtype(format_name))


def as_float64(values: Any) -> npt.NDArray[np.float64]:
    """Centroids in any format, of either library, as NumPy's numbers."""
    if not isinstance(values, np.ndarray):
        values = values.double().cpu().numpy()
    wide: npt.NDArray[np.float64] = values.astype(np.float64)
    return wide
