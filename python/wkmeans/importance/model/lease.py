"""A model lent to an estimate: to one at a time, and given back as it was.

Its derivatives need settings that are the process's own. They may not outlast a batch, whatever
ends it, nor meet another thread's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from wkmeans.importance.model.functional import differentiable_kernels
from wkmeans.importance.model.hold import Hold

# The process's settings that an estimate changes: how each is read and set.
_SETTINGS: tuple[tuple[Callable[[], bool], Callable[[bool], Any]], ...] = (
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
)


class Lease(Hold):
    """Holds the model and the settings for each ``with`` block; other threads wait for theirs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._kernels = ExitStack()
        self._settings: Callable[[], None] | None = None

    def __enter__(self) -> Lease:
        super().__enter__()
        self._settings = _keep_settings()
        self._kernels.enter_context(differentiable_kernels())
        if "torch._dynamo" in sys.modules:  # a compiled part runs as it was written
            self._kernels.enter_context(torch.compiler.set_stance("force_eager"))
        return self

    def _give_back(self) -> None:
        self._kernels.close()
        if self._settings is not None:
            self._settings()
            self._settings = None
        super()._give_back()


def _keep_settings() -> Callable[[], None]:
    before = [(put, get()) for get, put in _SETTINGS]

    def put_back() -> None:
        for put, value in before:
            put(value)

    return put_back
