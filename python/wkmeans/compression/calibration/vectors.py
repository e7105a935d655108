"""Vectors in half precision: bytes that outputs hardly show, better spent on weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from wkmeans.compression._plan import Options, select
from wkmeans.compression.source import Source

_WIDE = ("float32", "float64")


def vectors_of(model: nn.Module, source: Source, options: Options) -> frozenset[str]:
    """Biases, norms and running statistics that half precision would make shorter.

    None where the caller has said what is compressed or how the rest is stored. Other buffers stay
    as they are: a rotation's frequencies look harmless on the positions that calibration has.
    """
    if options.dense_dtype is not None or options.include:
        return frozenset()
    names = source.names()
    excluded = select(options, names).excluded
    vectors = {names[name] for name in _vectors(model) if name in names}
    return frozenset(
        name for name in vectors if source.entries[name].dtype in _WIDE and name not in excluded
    )


def _vectors(model: nn.Module) -> Iterator[str]:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            yield name
    for path, module in model.named_modules():
        if isinstance(module, _NormBase):
            for statistic in ("running_mean", "running_var"):
                if getattr(module, statistic) is not None:
                    yield f"{path}.{statistic}" if path else statistic


def in_halves(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is read where they are stored in half precision: as they are where that overflows."""
    halves = {name: tensor.half().to(tensor.dtype) for name, tensor in tensors.items()}
    return {
        name: halved if bool(halved.isfinite().all()) else tensors[name]
        for name, halved in halves.items()
    }
