"""What a layer takes on a lattice at one level or another, from some of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.lattice.coding import TooFineError
from wkmeans.compression.lattice.quantise import factors_of, on_lattice

_ROWS = 256
_OCTAVES = range(3, -7, -1)
"""About the level that is right for independent weights: layers of little importance get coarser
steps than that, and all get finer ones where inputs depend on one another."""


@dataclass(frozen=True)
class SizeCurve:
    """Bytes by the exponent of the level, which is a power of 2; straight between points.

    Attributes
    ----------
    exponents : float64 array (points,)
        Ascending.
    sizes : float64 array (points,)
    energy : float
        What zeroing the layer would cost.
    """

    exponents: FloatArray
    sizes: FloatArray
    energy: float

    @classmethod
    def of(cls, target: Target, bits: float, n_threads: int | None) -> SizeCurve:
        """About the level at which independent weights would take so many bits each.

        Without the ridge that makes some layers smaller.
        """
        some = target.of_rows(_ROWS)
        share = some.weights.size / target.weights.size
        energy = some.cost_of(np.zeros_like(some.weights))
        middle = math.log2(level_of(energy, some.weights.size, bits))
        factors = factors_of(some, n_threads)
        points: list[tuple[float, float]] = []
        for octave in _OCTAVES:
            try:
                found = on_lattice(some, 2.0 ** (middle + octave), n_threads, factors)
            except TooFineError:
                break
            points.append((middle + octave, found.encoded.payload.nbytes / share))
        # Where even the coarsest steps are too fine, only what comes of larger levels can tell.
        exponents, sizes = np.array(points[::-1] or [(middle, math.inf)]).T
        return cls(exponents, sizes, energy / share)

    def at(self, exponent: float) -> float:
        """Bytes; beyond all points those of the nearest."""
        return float(np.interp(exponent, self.exponents, self.sizes))


def level_of(energy: float, n_weights: int, bits: float) -> float:
    """Right for independent weights of one spread, all of them active."""
    return math.sqrt(12 * energy / n_weights) * 2.0**-bits or 1.0
