"""The tensors of a module or of a state dict, each once, in the memory they are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import is_torch_tensor
from wkmeans._model_lock import model_lock
from wkmeans._wrappers import plain_names, unwrapped
from wkmeans.compression.source.entries import Entry, Source
from wkmeans.compression.tensors.dtypes import as_numpy


def source_of_module(model: Any) -> Source:
    """The state of a module, under the names it has without wrappers; buffers are known as such."""
    with model_lock():
        return _source_of_module(model)


def _source_of_module(model: Any) -> Source:
    state = model.state_dict()
    left_out: dict[str, str] = {}
    tensors: dict[str, Any] = {}
    plain = plain_names(model, state)
    for name, value in state.items():
        known_as = plain[name]
        if known_as is None:
            left_out[name] = "belongs to the wrapper, not to the model"
        else:
            tensors[known_as] = value
    inner = unwrapped(model)
    of_inner = plain_names(inner, (name for name, _ in inner.named_parameters()))
    wrapped = {name: known for name, known in (plain | of_inner).items() if known and known != name}
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    of_buffers = {name for name in map(plain_names(model, buffers).get, buffers) if name}
    source = _source(tensors, of_buffers)
    return replace(source, left_out=left_out | source.left_out, wrapped=wrapped)


def source_of_state_dict(tensors: Mapping[str, Any]) -> Source:
    for name in tensors:
        if not isinstance(name, str):
            raise TypeError(f"model: expected names that are strings, got {name!r}")
    return _source(tensors, set())


def _source(tensors: Mapping[str, Any], buffers: set[str]) -> Source:
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    left_out: dict[str, str] = {}
    first_of: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        if name.split(".")[-1] == "_extra_state" and not _is_array(tensor):
            left_out[name] = f"extra state, not a tensor ({type(tensor).__name__})"
            continue
        array = as_numpy(name, tensor)
        where = array.__array_interface__
        memory = (where["data"][0], array.shape, array.strides, array.dtype.name)
        if array.size and memory in first_of:
            aliases[name] = first_of[memory]
            continue
        first_of[memory] = name
        read = partial(np.asarray, array)
        entries[name] = Entry(array.shape, array.dtype.name, read, is_buffer=name in buffers)
    is_torch = any(is_torch_tensor(tensor) for tensor in tensors.values())
    return Source(entries, "torch" if is_torch else "numpy", aliases, left_out)


def _is_array(value: Any) -> bool:
    return is_torch_tensor(value) or isinstance(value, np.ndarray)
