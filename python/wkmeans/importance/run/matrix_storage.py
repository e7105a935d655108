"""Whole importance matrices as a safetensors file: sums as tensors, everything else as metadata."""

from __future__ import annotations

import json
import math
from os import PathLike, fspath
from typing import Any

import torch

from wkmeans._files.errors import FormatError
from wkmeans.importance.matrices.sums import LayerSums
from wkmeans.importance.run.storage import check_sum, checked_count, read_file, write

FORMAT = "wkmeans.importance_matrices"
VERSION = "1"
_PARTS = ("second", "squares", "fourths")


def save(
    path: str | PathLike[str],
    loss: str,
    count: int,
    layers: dict[str, LayerSums],
    absent: tuple[str, ...],
) -> None:
    """Write sums to ``path``: all of it or nothing. ``ValueError`` for what `load` would refuse."""
    tensors = {
        f"{part}:{name}": getattr(sums, part) for name, sums in layers.items() for part in _PARTS
    }
    about = {
        name: [list(sums.positions), sums.probes, list(sums.shape), sums.is_transposed]
        for name, sums in layers.items()
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "loss": loss,
        "count": str(count),
        "layers": json.dumps(about),
        "absent": json.dumps(absent),
    }
    _interpreted("importance matrices to save", metadata, dict(tensors))
    write(path, metadata, tensors)


Read = tuple[str, int, dict[str, LayerSums], tuple[str, ...]]


def load(path: str | PathLike[str]) -> Read:
    """What `save` was given; `FormatError` where the file is not sound."""
    where = fspath(path)
    metadata, tensors = read_file(where)
    try:
        return _interpreted(where, metadata, tensors)
    except ValueError as error:
        raise FormatError(str(error)) from error


def _interpreted(where: str, metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> Read:
    """What metadata and tensors say, which are taken; ``ValueError`` where they are not sound."""
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{where}: not a file of importance matrices, version {VERSION}")
    about, absent = (_json(where, metadata, key) for key in ("layers", "absent"))
    if not isinstance(about, dict) or not _are_texts(absent):
        raise ValueError(f"{where}: layers, absent: expected an object and names")
    layers = {name: _layer(where, name, one, tensors) for name, one in about.items()}
    if tensors:
        raise ValueError(f"{where}: unknown tensor {min(tensors)!r}")
    return metadata.get("loss", ""), checked_count(where, metadata), layers, tuple(absent)


def _json(where: str, metadata: dict[str, str], key: str) -> Any:
    try:
        return json.loads(metadata.get(key, ""))
    except (ValueError, RecursionError):
        raise ValueError(f"{where}: {key}: expected JSON, got another text") from None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _layer(where: str, name: str, about: Any, tensors: dict[str, torch.Tensor]) -> LayerSums:
    """Takes a layer's tensors."""
    parts = [tensors.pop(f"{part}:{name}", None) for part in _PARTS]
    if not (isinstance(about, list) and len(about) == 4) or any(part is None for part in parts):
        raise ValueError(f"{where}: {name!r}: expected three sums and what they are of")
    positions, probes, shape, is_transposed = about
    is_list = isinstance(positions, list) and positions != []
    are_counts = is_list and all(type(n) is int and 0 < n < 2**62 for n in (*positions, probes))
    is_shape = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if not (are_counts and is_shape and type(is_transposed) is bool):
        raise ValueError(f"{where}: {name!r}: expected counts, a shape and a flag, got {about!r}")
    second, squares, fourths = (part for part in parts if part is not None)
    for part, total in zip(_PARTS, (second, squares, fourths), strict=True):
        check_sum(where, f"{part}:{name}", total, may_be_negative=part == "second")
    groups, inputs = (*second.shape[:1], *second.shape[2:]) if second.ndim == 3 else (0, 0)
    fits = second.shape == (groups, inputs, inputs) and squares.ndim == 2
    if not fits or squares.shape != fourths.shape or {len(squares), len(positions)} != {groups}:
        raise ValueError(f"{where}: {name!r}: expected sums of one layer's shapes")
    if squares.numel() * inputs != math.prod(shape):
        raise ValueError(f"{where}: {name!r}: expected sums for a parameter of shape {shape}")
    return LayerSums(
        second, squares, fourths, tuple(positions), probes, tuple(shape), is_transposed
    )
