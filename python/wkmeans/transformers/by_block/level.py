"""One water level for a whole network, of which no more is known than sizes at some levels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.lattice.coding import TooFineError
from wkmeans.compression.lattice.quantise import factors_of, on_lattice

_OCTAVES = (-2, -1, 0, 1, 2)
_ROWS = 128  # that stand for a layer's, or a sixteenth of them
_SHARE = 16
_SPREAD = math.log2(math.sqrt(2 * math.pi * math.e))  # of a normal variable, in bits


@dataclass(frozen=True)
class Curve:
    """Bytes of a layer at some levels, finest first.

    Attributes
    ----------
    exponents, sizes : float64 array
        Of 2, and bytes.
    weights : int
    """

    exponents: FloatArray
    sizes: FloatArray
    weights: int

    def at(self, exponent: float) -> float:
        """Between the levels by lines; a bit a weight for each octave below, half as much above."""
        first, last = self.exponents[0], self.exponents[-1]
        if exponent < first:
            return float(self.sizes[0] + (first - exponent) * self.weights / 8)
        if exponent > last:
            return float(self.sizes[-1] * np.exp2(last - exponent))
        return float(np.interp(exponent, self.exponents, self.sizes))

    def as_tensor(self) -> torch.Tensor:
        """For a file."""
        weights = np.full(len(self.exponents), float(self.weights))
        return torch.from_numpy(np.stack([self.exponents, self.sizes, weights]))

    @classmethod
    def of_tensor(cls, tensor: torch.Tensor) -> Curve:
        """What `as_tensor` gave."""
        exponents, sizes, weights = tensor.numpy()
        return cls(exponents, sizes, int(weights[0]))


def curve_of(target: Target, bits: float, n_threads: int | None) -> Curve:
    """From some of its rows, about the level that takes so many bits a weight."""
    rows = target.weights.shape[1]
    step = max(1, min(rows // _ROWS, _SHARE))
    some = replace(target, weights=target.weights[:, ::step], outputs=target.outputs[:, ::step])
    factors = factors_of(some, n_threads)
    middle = _level_for(some, np.stack([factor.diagonal for factor in factors]), bits)
    exponents, sizes = [], []
    scales = target.outputs.size + target.weights.shape[2]
    for octave in _OCTAVES:
        try:
            found = on_lattice(some, 2.0 ** (middle + octave), n_threads, factors)
        except TooFineError:
            continue
        share = target.outputs.size / some.outputs.size
        exponents.append(middle + octave)
        sizes.append(found.encoded.payload.nbytes * share + scales)
    if not exponents:
        exponents, sizes = [middle], [target.weights.size * bits / 8]
    return Curve(np.array(exponents), np.array(sizes), target.weights.size)


def _level_for(target: Target, diagonals: FloatArray, bits: float) -> float:
    """The exponent of a level, were all weights normal and all columns active."""
    energy = float((target.weights**2).mean())
    outputs = float(np.log2(target.outputs).mean()) / 2
    return (
        math.log2(energy or 1.0) / 2 + outputs + float(np.log2(diagonals).mean()) + _SPREAD - bits
    )


def level_for(curves: Iterable[Sequence[Curve]], size: float) -> float:
    """The exponent at which all layers together take so many bytes."""
    layers = [curve for part in curves for curve in part]
    low = min(float(curve.exponents[0]) for curve in layers) - 16
    high = max(float(curve.exponents[-1]) for curve in layers) + 32
    for _ in range(60):
        middle = (low + high) / 2
        if sum(curve.at(middle) for curve in layers) > size:
            low = middle
        else:
            high = middle
    return high
