"""Modules around a model that change how it runs, not what it is."""

from __future__ import annotations

from torch import nn

# By name, so that nothing is imported to ask: the class, and the attribute with what it wraps.
_WRAPPERS = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside its wrappers, itself where it has none."""
    inner = _inside(model)
    while inner is not None:
        model, inner = inner, _inside(inner)
    return model


def _inside(module: nn.Module) -> nn.Module | None:
    for kind in type(module).__mro__:
        attribute = _WRAPPERS.get(f"{kind.__module__}.{kind.__qualname__}")
        if attribute is not None:
            found: nn.Module = getattr(module, attribute)
            return found
    return None
