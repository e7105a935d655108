"""A module that runs with other tensors in its parameters' places, for one thread at a time.

Whatever ends the run, the module is as it was afterwards: torch puts its own tensors back, but not
where an interruption meets it at that, nor where another thread has put others in meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from torch import nn

_lock = threading.RLock()


def _new_lock() -> None:
    """A forked process has none of the threads that may have held the old one."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)

_of_thread = threading.local()


class Hold:
    """Keeps other threads from every module for a ``with`` block; these wait.

    ``close`` gives back what an interruption left behind. It may be called again and is not itself
    interrupted.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kept: list[Callable[[], None]] = []
        self._may_hold: Any = None

    def __enter__(self) -> Hold:
        self._may_hold = _lock  # before, so that an interruption in between lets go of it
        self._may_hold.acquire()
        held = _held_modules()
        if id(self._module) not in held:  # else an outer block puts everything back
            self._kept = [_keep(module) for module in self._module.modules()]
            held.add(id(self._module))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put everything back and let others have the module."""
        interruption: KeyboardInterrupt | None = None
        while True:
            try:
                self._give_back()
                break
            except KeyboardInterrupt as error:
                interruption = error
        if interruption is not None:
            raise interruption

    def _give_back(self) -> None:
        if self._may_hold is None:
            return
        for put_back in self._kept:
            put_back()
        if self._kept:
            _held_modules().discard(id(self._module))
        with suppress(RuntimeError):  # interrupted while it waited, or after it let go
            self._may_hold.release()
        self._may_hold = None
        self._kept = []


def _held_modules() -> set[int]:
    """Those that this thread holds."""
    if not hasattr(_of_thread, "modules"):
        _of_thread.modules = set()
    found: set[int] = _of_thread.modules
    return found


def _keep(module: nn.Module) -> Callable[[], None]:
    """What puts back a module's tensors, and takes away the hooks that were lent to it."""
    tensors: list[Any] = [module._parameters, module._buffers]
    tables = [(table, dict(table)) for table in tensors]
    # A recurrent layer keeps its parameters a second time.
    own = vars(module)
    held_twice = ("_flat_weights", "_flat_weight_refs")
    flat: dict[str, Any] = {name: own[name] for name in held_twice if name in own}
    weights = {name: list(values) for name, values in flat.items()}

    def put_back() -> None:
        for table, before in tables:
            if any(table.get(name) is not tensor for name, tensor in before.items()):
                table.clear()
                table.update(before)
        for name, values in flat.items():
            values[:] = weights[name]
        own.update(flat)
        for key, hook in list(module._forward_hooks.items()):
            if getattr(getattr(hook, "__self__", None), "hooks_are_lent", False):
                module._forward_hooks.pop(key, None)

    return put_back
