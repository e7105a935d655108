"""A model lent to one piece of work at a time, and given back as it was.

Differentiating with respect to other tensors, or judging them, puts these in the parameters' places
while the model runs, and needs settings that are the process's own. Neither may outlast the work,
whatever ends it, nor meet another thread's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import nn

from wkmeans._model_lock import model_lock
from wkmeans.importance.model.functional import differentiable_kernels
from wkmeans.importance.model.modes import keep_modes

Result = TypeVar("Result")

# The process's settings that an estimate changes: how each is read and set.
_SETTINGS: tuple[tuple[Callable[[], bool], Callable[[bool], Any]], ...] = (
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
)


def lend(module: nn.Module, work: Callable[[], Result]) -> Result:
    """What ``work`` gives; meanwhile no other thread has a model. Work may lend again.

    Whatever it left behind is put back, interruptions within that included.
    """
    with model_lock():
        lease = _Lease()
        try:
            try:
                lease.begin(module)
                with torch.inference_mode(False):  # in which nothing is derived
                    return work()
            finally:
                lease.end()
        finally:
            lease.end()  # where the first was interrupted before it began


class _Lease:
    """What a module and the process were before."""

    def __init__(self) -> None:
        self._kept: list[Callable[[], None]] = []
        self._kernels = ExitStack()

    def begin(self, module: nn.Module) -> None:
        """Note what is to be put back, and set what derivatives need."""
        _refuse_scripted(module)
        kept = [keep_modes(), _keep_settings()]
        self._kept = [*kept, *(_keep(child) for child in module.modules())]
        self._kernels.enter_context(differentiable_kernels())
        if "torch._dynamo" in sys.modules:  # a compiled part runs as it was written
            self._kernels.enter_context(torch.compiler.set_stance("force_eager"))

    def end(self) -> None:
        """Put everything back; again does no harm."""
        interruption: KeyboardInterrupt | None = None
        while True:
            try:
                self._put_back()
                break
            except KeyboardInterrupt as error:
                interruption = error
        if interruption is not None:
            raise interruption

    def _put_back(self) -> None:
        self._kernels.close()
        for put_back in self._kept:
            put_back()
        self._kept = []


def _refuse_scripted(module: nn.Module) -> None:
    for name, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            where = f"TorchScript at {name!r}" if name else "TorchScript"
            raise TypeError(
                f"model: expected modules whose weights can be lent, got {where}; pass the module "
                "that it was made of"
            )


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
