"""Dense tensors into a live module: checked as a whole, then loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wkmeans._model_lock import model_lock
from wkmeans._wrappers import plain_names, unwrapped, without_wrappers
from wkmeans.compression._conversion import as_transformers_holds

if TYPE_CHECKING:
    from torch import nn


def load_state(model: nn.Module, tensors: Mapping[str, Any]) -> None:
    """Load `tensors` by name; ``RuntimeError``, and nothing loaded, where they do not fit.

    A name that the tensors lack is no fault where the module ties it to one that they have, nor
    where it is extra state; one that the module lacks is none where the module says so itself
    (``_keys_to_ignore_on_load_unexpected``, as transformers' models do), or where it is a buffer
    that the module now makes itself (positions, masks, frequencies: ``persistent=False``).
    """
    with model_lock():
        _load_state(model, tensors)


def _load_state(model: nn.Module, tensors: Mapping[str, Any]) -> None:
    state = model.state_dict(keep_vars=True)
    plain = plain_names(model, state)
    expected = {name for name in plain.values() if name is not None}
    given: Mapping[str, Any] = _by_plain_name(tensors, expected)
    if not given.keys() <= expected:
        given = as_transformers_holds(unwrapped(model), given)
    chosen = {name: given[known] for name, known in plain.items() if known and known in given}
    tied = {_memory(state[name]) for name in chosen}
    missing = [
        name
        for name, known in plain.items()
        if name not in chosen
        and known is not None
        and not _is_extra_state(name)
        and _memory(state[name]) not in tied
    ]
    unexpected = _not_ignored(model, [name for name in given if name not in expected], plain)
    faults = [f"missing {name!r}" for name in missing]
    faults += [f"unexpected {name!r}" for name in unexpected]
    faults += [
        f"{name!r} has shape {list(value.shape)}, expected {list(state[name].shape)}"
        for name, value in chosen.items()
        if not _is_extra_state(name) and value.shape != state[name].shape
    ]
    faults += [
        f"{name!r} is on the meta device, which holds nothing: model.to_empty(device='cpu') first"
        for name in chosen
        if getattr(state[name], "is_meta", False)
    ]
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if faults[8:] else "")
        raise RuntimeError(f"the tensors do not fit {type(model).__name__}: {shown}")
    model.load_state_dict(chosen, strict=False)


def _by_plain_name(tensors: Mapping[str, Any], expected: set[str]) -> dict[str, Any]:
    """The tensors under the names of a plain module, whatever wrapped the one they came from."""
    plain = {
        name if name in expected else without_wrappers(name): tensor
        for name, tensor in tensors.items()
    }
    inner = {name.removeprefix("module."): tensor for name, tensor in plain.items()}
    if len(inner) == len(plain) and not plain.keys() & expected and inner.keys() & expected:
        return inner
    return plain


def _memory(value: Any) -> Any:
    """What tied parameters have in common."""
    if not hasattr(value, "data_ptr") or value.numel() == 0 or value.device.type == "meta":
        return id(value)
    return value.device, value.data_ptr(), tuple(value.shape), value.stride(), value.dtype


def _is_extra_state(name: str) -> bool:
    return name.split(".")[-1] == "_extra_state"


def _not_ignored(
    model: nn.Module, names: Iterable[str], persistent: Mapping[str, Any]
) -> list[str]:
    patterns: Any = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    made = {_ending(name) for name, _ in model.named_buffers() if name not in persistent}
    return [
        name
        for name in names
        if _ending(name) not in made and not any(re.search(pattern, name) for pattern in patterns)
    ]


def _ending(name: str) -> tuple[str, ...]:
    """A buffer and its module: where the module stands has changed between releases."""
    return tuple(name.split(".")[-2:])
