"""A model lent to an estimate: to one at a time, and given back as it was.

Differentiating with respect to other tensors puts these in the parameters' places while the model
runs, and needs settings that are the process's own. Neither may outlast a batch, whatever ends it,
nor meet another thread's.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import torch
from torch import nn

from wkmeans.importance.model.functional import differentiable_kernels

_lock = threading.RLock()


def _new_lock() -> None:
    """A forked process has none of the threads that may have held the old one."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)

# The process's settings that an estimate changes: how each is read and set.
_SETTINGS: tuple[tuple[Callable[[], bool], Callable[[bool], Any]], ...] = (
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
)


class Lease:
    """Holds the model for each ``with`` block; other threads wait for theirs.

    ``close`` gives back what an interruption left behind. It may be called again and is not itself
    interrupted.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kept: list[Callable[[], None]] = []
        self._kernels = ExitStack()
        self._may_hold: Any = None

    def __enter__(self) -> Lease:
        self._may_hold = _lock  # before, so that an interruption in between lets go of it
        self._may_hold.acquire()
        self._kept = [_keep_settings(), *(_keep(module) for module in self._module.modules())]
        self._kernels.enter_context(differentiable_kernels())
        if "torch._dynamo" in sys.modules:  # a compiled part runs as it was written
            self._kernels.enter_context(torch.compiler.set_stance("force_eager"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put everything back and let others have the model."""
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
        self._kernels.close()
        for put_back in self._kept:
            put_back()
        with suppress(RuntimeError):  # interrupted while it waited, or after it let go
            self._may_hold.release()
        self._may_hold = None
        self._kept = []


def _keep_settings() -> Callable[[], None]:
    before = [(put, get()) for get, put in _SETTINGS]

    def put_back() -> None:
        for put, value in before:
            put(value)

    return put_back


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
