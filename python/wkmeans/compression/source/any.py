"""A source of whatever `compress` accepts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wkmeans.compression.source.entries import Source
from wkmeans.compression.source.files import source_of_files
from wkmeans.compression.source.modules import source_of_module, source_of_state_dict


def open_source(model: Any) -> Source:
    """The tensors of `model` by name; `TypeError` for anything else, `ValueError` for none."""
    source = _opened(model)
    if not source.entries:
        raise ValueError("model: expected at least one tensor, got none")
    return source


def _opened(model: Any) -> Source:
    if isinstance(model, (str, os.PathLike)):
        return source_of_files([Path(model)])
    if isinstance(model, (list, tuple)):
        return source_of_files([Path(path) for path in model])
    if isinstance(model, Mapping):
        return source_of_state_dict(model)
    if hasattr(model, "state_dict") and hasattr(model, "named_parameters"):
        return source_of_module(model)
    raise TypeError(
        "model: expected a torch.nn.Module, a state dict or paths of safetensors files, "
        f"got {type(model).__name__}"
    )
