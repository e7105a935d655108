"""Compressed weights where people run models: PyTorch, ONNX, Core ML, torch.nn.utils.prune.

Every function takes a compressed model, or a mapping from parameter names to what `wkmeans.wkmeans`
answered or to an `IndexedTensor`: codebooks, and for each weight the centroid that stands for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wkmeans.compression.tensors.exportable import recompressed
from wkmeans.compression.tensors.indexed import IndexedTensor
from wkmeans.export._onnx import to_onnx

__all__ = [
    "IndexedTensor",
    "indexed_tensors",
    "parametrize",
    "recompressed",
    "to_coreml_buffers",
    "to_onnx",
    "to_prune_state_dict",
]

_NEEDS_TORCH = {
    "indexed_tensors": "wkmeans.compression.tensors.parametrization",
    "parametrize": "wkmeans.compression.tensors.parametrization",
    "to_coreml_buffers": "wkmeans.export._coreml",
    "to_prune_state_dict": "wkmeans.export._masks",
}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'wkmeans.export' has no attribute {name!r}")
