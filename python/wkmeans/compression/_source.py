"""Where the tensors come from: a module, a state dict, or safetensors files read one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array, is_torch_tensor
from wkmeans.compression.tensors.dtypes import as_numpy


@dataclass(frozen=True)
class Entry:
    """One tensor, not yet read."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class Source:
    """Tensors by name, each stored once.

    `aliases` maps every further name of a tied tensor to the first; `framework` is what
    `state_dict` should answer with.
    """

    entries: dict[str, Entry]
    framework: str
    aliases: dict[str, str] = field(default_factory=dict)


def open_source(model: Any) -> Source:
    """A source of what `compress` accepts; raises `TypeError` for anything else."""
    if isinstance(model, (str, os.PathLike)):
        return _files([Path(model)])
    if isinstance(model, (list, tuple)):
        return _files([Path(path) for path in model])
    if isinstance(model, Mapping):
        return _state_dict(model)
    if hasattr(model, "state_dict") and hasattr(model, "named_parameters"):
        return _state_dict(model.state_dict())
    raise TypeError(
        "model: expected a torch.nn.Module, a state dict or paths of safetensors files, "
        f"got {type(model).__name__}"
    )


def _state_dict(tensors: Mapping[str, Any]) -> Source:
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    first_of: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"model: expected names that are strings, got {name!r}")
        array = as_numpy(name, tensor)
        where = array.__array_interface__
        memory = (where["data"][0], array.shape, array.strides, array.dtype.name)
        if array.size and memory in first_of:
            aliases[name] = first_of[memory]
            continue
        first_of[memory] = name
        entries[name] = Entry(array.shape, array.dtype.name, partial(np.asarray, array))
    is_torch = any(is_torch_tensor(tensor) for tensor in tensors.values())
    return Source(entries, "torch" if is_torch else "numpy", aliases)


_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "BOOL": "bool", "C64": "complex64"},
    **{f"{sign}{bits}": f"{kind}{bits}" for sign, kind in (("I", "int"), ("U", "uint"))
       for bits in (8, 16, 32, 64)},
}  # fmt: skip


def _files(paths: list[Path]) -> Source:
    paths = [shard for path in paths for shard in _shards(path)]
    if not paths:
        raise ValueError("model: expected at least one safetensors file, got none")
    entries: dict[str, Entry] = {}
    frameworks = set()
    for path in paths:
        shard, framework = _file(path)
        frameworks.add(framework)
        twice = sorted(shard.keys() & entries.keys())
        if twice:
            raise ValueError(f"{path}: tensor {twice[0]!r} is in another of the files too")
        entries |= shard
    return Source(entries, "torch" if "torch" in frameworks else "numpy")


def _shards(path: Path) -> list[Path]:
    """The files behind a checkpoint's index or directory; a safetensors file is its own."""
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if not found:
            raise FileNotFoundError(f"{path}: no .safetensors file in this directory")
        return found
    if path.suffix != ".json":
        return [path]
    try:
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        return [path.parent / name for name in sorted(names)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the index of a sharded checkpoint: {error!r}") from None


def _file(path: Path) -> tuple[dict[str, Entry], str]:
    safe_open, errors = _safetensors()

    def read(name: str) -> Array:
        with safe_open(path, framework="numpy") as file:
            array: Array = file.get_tensor(name)
            return array

    entries = {}
    try:
        with safe_open(path, framework="numpy") as file:
            framework = "torch" if (file.metadata() or {}).get("format") == "pt" else "numpy"
            for name in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                view = file.get_slice(name)
                dtype = _DTYPES.get(view.get_dtype())
                if dtype is None or dtype.startswith("float8"):
                    raise TypeError(f"{path}: {name!r} has dtype {view.get_dtype()}")
                entries[name] = Entry(tuple(view.get_shape()), dtype, partial(read, name))
    except errors as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from None
    return entries, framework


def _safetensors() -> tuple[Any, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(
            "reading safetensors files needs safetensors: pip install 'wkmeans[compress]'"
        ) from error
    return safe_open, SafetensorError
