"""Globally optimal, importance-weighted codebooks and pruning for neural networks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wkmeans import rate, rate_distortion
from wkmeans._clustered import Clustering
from wkmeans._clustering import cost_curve, wkmeans
from wkmeans._entropy_constrained import EntropyConstrained, entropy_constrained
from wkmeans._pruning import compensate, prune
from wkmeans._quantized import Quantized
from wkmeans.compression import (
    CompressedModel,
    CompressedTensor,
    DenseTensor,
    FormatError,
    compress,
    load,
)

__all__ = [
    "Clustering",
    "CompressedModel",
    "CompressedTensor",
    "DenseTensor",
    "EntropyConstrained",
    "FormatError",
    "Quantized",
    "compensate",
    "compress",
    "cost_curve",
    "entropy_constrained",
    "export",
    "importance",
    "load",
    "plot",
    "prune",
    "rate",
    "rate_distortion",
    "wkmeans",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported where they are used: they need what bare NumPy users neither have nor wait for.
    if name in ("export", "importance", "plot"):
        return import_module(f"wkmeans.{name}")
    raise AttributeError(f"module 'wkmeans' has no attribute {name!r}")
