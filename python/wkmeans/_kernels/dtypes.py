"""Names of dtypes, as NumPy and torch spell them, and NumPy's dtypes of those names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")
"""Those that weights and importances may have."""
NATIVE = (
    *("float64", "float32", "float16", "complex64", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)
EXTENSION = (
    *("bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
"""Those that NumPy has from ml_dtypes."""


def dtype_name(dtype: Any) -> str:
    """The name of a NumPy or torch dtype, or of one given by name; of anything else its repr."""
    if isinstance(dtype, str):
        return dtype
    if type(dtype).__module__ == "torch":
        return str(dtype).removeprefix("torch.")
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return repr(dtype)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype called `name`, of those in `NATIVE` and `EXTENSION`."""
    if name in NATIVE:
        return np.dtype(name)
    if name not in EXTENSION:
        raise TypeError(f"dtype: expected one of {', '.join((*NATIVE, *EXTENSION))}, got {name}")
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(
            f"NumPy arrays of {name} need ml_dtypes: pip install ml_dtypes, or pass torch tensors"
        ) from error
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def label_dtype(k: int, *, as_torch: bool = False) -> str:
    """The narrowest dtype that holds labels of k centroids; torch indexes with these two alone."""
    if k <= 256:
        return "uint8"
    return "int32" if as_torch else "uint16"


def dtype_error(name: str, got: str, dtypes: Sequence[str] = FLOAT_DTYPES) -> TypeError:
    """For an array of another dtype."""
    expected = " or ".join(dtypes) if len(dtypes) == 2 else f"{', '.join(dtypes)} or a list"
    return TypeError(f"{name}: expected dtype {expected}, got {got}")
