"""How precisely to store vectors: bytes that outputs hardly show are better spent on weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from wkmeans._kernels.arrays import Array
from wkmeans.compression._plan import Options, Rounding, select
from wkmeans.compression.source import Source
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.compression.tensors.rounded import rounded_vector
from wkmeans.compression.tensors.tensor import DenseTensor

_WIDE = ("float32", "float64")
_BITS = (3, 4, 5, 6, 7, 8, 10)
_MEASURED = 6
"""Bits whose loss is measured; it falls by four with each."""
_LEAST_GAIN = 0.05
"""Of the divergence, that another search is worth."""


def vectors_of(model: nn.Module, source: Source, options: Options) -> frozenset[str]:
    """Biases, norms and running statistics that calibration may change.

    None where the caller has said what is compressed or how the rest is stored. Other buffers stay
    as they are: a rotation's frequencies look harmless on the positions that calibration has.
    """
    if options.dense_dtype is not None or options.include:
        return frozenset()
    names = source.names()
    excluded = select(options, names).excluded
    vectors = {names[name] for name in _vectors(model) if name in names}
    return frozenset(vectors - excluded.keys())


def rounded_ones(source: Source, vectors: Collection[str]) -> list[str]:
    """Those of a dtype with more bits than outputs may show, in order."""
    return sorted(name for name in vectors if source.entries[name].dtype in _WIDE)


def _vectors(model: nn.Module) -> Iterator[str]:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            yield name
    for path, module in model.named_modules():
        if isinstance(module, _NormBase):
            for statistic in ("running_mean", "running_var"):
                if getattr(module, statistic) is not None:
                    yield f"{path}.{statistic}" if path else statistic


class Precisions:
    """What bits of vectors' mantissas cost in bytes, and in divergence.

    Both are of the network's own vectors, before anything makes up for its layer. `divergence` is
    that of the original with other tensors; `n_weights` are those that bytes would go to instead,
    and a bit for each of them is a quarter of the divergence.
    """

    def __init__(
        self,
        vectors: Mapping[str, Array],
        divergence: Callable[[Mapping[str, torch.Tensor]], float],
        n_weights: int,
    ) -> None:
        self._vectors = vectors
        self._n_weights = n_weights
        self._nbytes = {bits: self._bytes_of(bits) for bits in (None, *_BITS)}
        stored = self._stored(_MEASURED)
        self._lost = divergence({n: as_torch(t.dequantize()) for n, t in stored.items()})

    def best_for(self, divergence: float, bits: int | None) -> int | None:
        """Bits, or None for vectors as they are, where a file with `bits` diverges by so much.

        `bits` themselves, unless others promise a twentieth less.
        """
        best = min((None, *_BITS), key=lambda other: self._expected(divergence, bits, other))
        gains = self._expected(divergence, bits, best) < (1 - _LEAST_GAIN) * divergence
        return best if gains else bits

    def rounding(self, bits: int | None) -> Rounding | None:
        return None if bits is None else Rounding(frozenset(self._vectors), bits)

    def _expected(self, divergence: float, bits: int | None, other: int | None) -> float:
        of_weights = max(divergence - self._loss(bits), 0.0)
        more = 8.0 * (self._nbytes[other] - self._nbytes[bits]) / self._n_weights
        return of_weights * math.exp2(2 * min(more, 100.0)) + self._loss(other)

    def _loss(self, bits: int | None) -> float:
        return 0.0 if bits is None else self._lost * math.exp2(2 * (_MEASURED - bits))

    def _bytes_of(self, bits: int | None) -> int:
        if bits is None:
            return sum(int(values.nbytes) for values in self._vectors.values())
        return sum(tensor.nbytes for tensor in self._stored(bits).values())

    def _stored(self, bits: int) -> dict[str, DenseTensor]:
        return {
            name: rounded_vector(values, values.dtype.name, bits, "")
            for name, values in self._vectors.items()
        }
