"""The names that wrappers put in front of a module's own: told apart, and taken away.

`torch.compile`, data parallelism, averaged models, sharding and adapters each hold the module as a
child of their own, whose name then stands within the names of all its tensors. A compressed model
has the names of the plain module, whatever held it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

_RUNNERS = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
}
"""Wrappers that change how a module runs, not what it computes, and the child that it is."""
_HOLDERS = _RUNNERS | {
    "peft.peft_model.PeftModel": "base_model",
    "peft.tuners.tuners_utils.BaseTuner": "model",
    "peft.tuners.tuners_utils.BaseTunerLayer": "base_layer",
    "peft.utils.other.AuxiliaryTrainingWrapper": "original_module",
}
"""All wrappers, by name so that nothing is imported; what else they hold is their own."""
_UNMISTAKABLE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that torch gives to what it wraps, and nobody to a layer."""


def unwrapped(model: Any) -> Any:
    """The module inside of what runs it; itself where nothing else does."""
    while (child := _child(model, _RUNNERS)) is not None:
        model = getattr(model, child)
    return model


def plain_names(model: Any, names: Iterable[str]) -> dict[str, str | None]:
    """What the names of a module's state are without wrappers; None for what is a wrapper's own."""
    prefixes, own = set(), set()
    for path, module in model.named_modules(remove_duplicate=False):
        child = _wrapped_child(module)
        if child is not None:
            before = f"{path}." if path else ""
            prefixes.add(before + child)
            own |= {before + name for name in (*module._parameters, *module._buffers)}
            own |= {before + name for name in module._modules if name != child}
    return {name: None if _is_within(name, own) else _plain(name, prefixes) for name in names}


def plainly_named(model: Any, values: Mapping[str, Value]) -> dict[str, Value]:
    """What is known by the names of a module's state, by its names without wrappers."""
    plain = plain_names(model, values)
    return {known_as: values[name] for name, known_as in plain.items() if known_as is not None}


def without_wrappers(name: str) -> str:
    """A name that comes without its module, such as a file's, as far as it can be told."""
    return ".".join(part for part in name.split(".") if part not in _UNMISTAKABLE)


def _is_within(name: str, paths: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[: i + 1]) in paths for i in range(len(parts)))


def _plain(name: str, prefixes: set[str]) -> str:
    *path, last = name.split(".")
    kept = [part for i, part in enumerate(path) if ".".join(path[: i + 1]) not in prefixes]
    return ".".join([*kept, last])


def _wrapped_child(module: Any) -> str | None:
    children = getattr(module, "_modules", {})
    for name in _UNMISTAKABLE:
        if name in children:
            return name
    return _child(module, _HOLDERS)


def _child(module: Any, wrappers: Mapping[str, str]) -> str | None:
    """The name of what a wrapper holds; None for what is none of the `wrappers`."""
    for base in type(module).__mro__:
        child = wrappers.get(f"{base.__module__}.{base.__qualname__}")
        if child is not None and child in getattr(module, "_modules", {}):
            return child
    return None
