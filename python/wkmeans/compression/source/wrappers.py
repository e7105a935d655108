"""The names that wrappers put in front of a module's own: told apart, and taken away.

`torch.compile`, data parallelism, averaged models and sharding each hold the module as a child of
their own, whose name then stands within the names of all its tensors. A compressed model has the
names of the plain module, whatever held it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_HOLDERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
}
_UNMISTAKABLE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that torch gives to what it wraps, and nobody to a layer."""


def unwrapped(model: Any) -> Any:
    """The module inside of all wrappers around it; itself where there are none."""
    while (child := _wrapped_child(model)) is not None:
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
    return {name: None if name in own else _plain(name, prefixes) for name in names}


def without_wrappers(name: str) -> str:
    """A name that comes without its module, such as a file's, as far as it can be told."""
    return ".".join(part for part in name.split(".") if part not in _UNMISTAKABLE)


def _plain(name: str, prefixes: set[str]) -> str:
    *path, last = name.split(".")
    kept = [part for i, part in enumerate(path) if ".".join(path[: i + 1]) not in prefixes]
    return ".".join([*kept, last])


def _wrapped_child(module: Any) -> str | None:
    children = getattr(module, "_modules", {})
    for name in _UNMISTAKABLE:
        if name in children:
            return name
    for base in type(module).__mro__:
        child = _HOLDERS.get(f"{base.__module__}.{base.__qualname__}")
        if child is not None and child in children:
            return child
    return None
