"""What an interruption may not leave behind, and how to interrupt at any line."""

from __future__ import annotations

import torch


def settings():
    return (
        torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(), torch.backends.mkldnn.flags,
        torch._C._get_mkldnn_enabled(),
    )  # fmt: skip


def picture(net):
    """Every object that makes up a model, by identity."""
    found = [settings()]
    for module in net.modules():
        found.append([(n, id(p), p.requires_grad) for n, p in module._parameters.items()])
        found.append([(n, id(b)) for n, b in module._buffers.items()])
        found.append([id(w) for w in getattr(module, "_flat_weights", [])])
        found.append((len(module._forward_hooks), module.training))
    return found


class Interrupted:
    """A trace that raises at the n-th line that runs below ``function``, wherever that is."""

    def __init__(self, function, at=0):
        self._code = function.__code__
        self.at = at
        self.lines = -1  # not there yet

    def __call__(self, frame, event, argument):
        if frame.f_code is self._code and self.lines < 0:
            self.lines = 0
        if event == "line" and self.lines >= 0:
            self.lines += 1
            if self.lines == self.at:
                raise KeyboardInterrupt
        return self
